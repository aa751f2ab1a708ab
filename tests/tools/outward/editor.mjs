// An editor for tests: the client side of the protocol's own SDK, moved by lines of JSON.
//
//   node editor.mjs SDK PROGRAM ARGUMENT...
//
// In:  {"ask": 1, "method", "params"}      a request; answered by {"answer": 1, "result" | "error"}
//      {"tell": "METHOD", "params"}        a notification
//      {"reply": 1, "result"}              what the person says to question 1
// Out: {"update": {"sessionId", "update"}}, {"asked": 1, "method", "params"}, {"withdrawn": 1}
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Readable, Writable } from "node:stream";
import { pathToFileURL } from "node:url";

const [sdk, program, ...words] = process.argv.slice(2);
const acp = await import(pathToFileURL(sdk));
const child = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

let count = 0;
const replies = new Map();
const question = (method) => ({ params, signal }) =>
  new Promise((resolve, reject) => {
    const id = ++count;
    replies.set(id, resolve);
    signal.addEventListener("abort", () => {
      say({ withdrawn: id });
      reject(new Error("no answer is needed any more"));
    });
    say({ asked: id, method, params });
  });

const app = acp
  .client({ name: "a test's editor" })
  .onNotification(acp.methods.client.session.update, ({ params }) => say({ update: params }))
  .onRequest(acp.methods.client.session.requestPermission, question("session/request_permission"))
  .onRequest(acp.methods.client.elicitation.create, question("elicitation/create"));
const stream = acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout));

await app.connectWith(stream, async (agent) => {
  say({ connected: child.pid });
  for await (const text of createInterface({ input: process.stdin })) {
    const line = JSON.parse(text);
    if (line.ask !== undefined) {
      // Not awaited: a person asks and answers while a turn is in progress.
      agent.request(line.method, line.params).then(
        (result) => say({ answer: line.ask, result }),
        ({ code, message, data }) => say({ answer: line.ask, error: { code, message, data } }),
      );
    } else if (line.tell !== undefined) {
      await agent.notify(line.tell, line.params);
    } else {
      replies.get(line.reply)(line.result);
    }
  }
});
