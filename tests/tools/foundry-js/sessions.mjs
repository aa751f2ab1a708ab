// Every operation on sessions and their files, by `@azure/ai-projects` for JavaScript.
//
// `sessions.mjs AGENT VERSION`, with URL, TOKEN, and the package's file in PACKAGE.

import assert from "node:assert/strict";

const { AIProjectClient } = await import(process.env.PACKAGE);
const [agent, version] = process.argv.slice(2);
const credential = {
  getToken: async () => ({ token: process.env.TOKEN, expiresOnTimestamp: 4102444800000 }),
};
// The package refuses plain HTTP; what it sends is the same.
const plain = {
  name: "plain",
  async sendRequest(request, next) {
    const { url } = request;
    request.url = url.replace(/^https:/, "http:");
    request.allowInsecureConnection = true;
    try {
      return await next(request);
    } finally {
      // A repetition begins with what was asked for.
      request.url = url;
    }
  },
};
const url = process.env.URL.replace(/^http:/, "https:");
const project = new AIProjectClient(`${url}/foundry/api/projects/proj`, credential, {
  additionalPolicies: [{ policy: plain, position: "perRetry" }],
});
const { agents } = project;
const now = { type: "version_ref", agent_version: version };

async function refused(status, code, call) {
  const error = await call().then(
    () => assert.fail(`not refused with ${code}`),
    (error) => error,
  );
  assert.equal(error.statusCode ?? error.status, status, String(error));
  assert.equal(error.code, code, String(error));
}

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

async function bytes(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

// Create, get.
const made = await agents.createSession(agent, now, { agentSessionId: "js-1" });
assert.equal(made.agent_session_id, "js-1");
assert.equal(made.status, "active");
assert.equal(made.version_indicator.agent_version, version);
assert(made.created_at instanceof Date && Date.now() - made.created_at < 60_000);
const again = () => agents.createSession(agent, now, { agentSessionId: "js-1" });
await refused(409, "session_already_exists", again);
await refused(400, "invalid_session_id", () =>
  agents.createSession(agent, now, { agentSessionId: "a/b c:d%e" }),
);
assert.equal((await agents.getSession(agent, "js-1")).status, "active");
for (const missing of ["nothing", "a/b c:d%e"]) {
  await refused(404, "session_not_found", () => agents.getSession(agent, missing));
  await refused(404, "session_not_found", () => agents.stopSession(agent, missing));
}

// Whose it is.
const mine = { requestOptions: { headers: { "x-ms-user-identity": "user-1" } } };
const theirs = { requestOptions: { headers: { "x-ms-user-identity": "user-2" } } };
await agents.createSession(agent, now, { agentSessionId: "js-2", ...mine });
assert.equal((await agents.getSession(agent, "js-2", mine)).agent_session_id, "js-2");
await refused(404, "session_not_found", () => agents.getSession(agent, "js-2", theirs));
await refused(404, "session_not_found", () => agents.stopSession(agent, "js-2", theirs));

// Files.
const content = Buffer.from("hello");
const wrote = await agents.uploadSessionFile(agent, "js-1", "data/in put.txt", content);
assert.equal(wrote.bytes_written, 5);
const file = await agents.downloadSessionFile(agent, "js-1", "data/in put.txt");
assert.equal((await bytes(file.readableStreamBody)).toString(), "hello");
for (const n of [1, 2, 3]) {
  await agents.uploadSessionFile(agent, "js-1", `many/${n}`, Buffer.from("x"));
}
const listed = await all(agents.listSessionFiles(agent, "js-1"));
const folder = listed.find((entry) => entry.name === "data");
assert.equal(folder.is_directory, true);
assert(folder.modified_time instanceof Date);
const many = await all(agents.listSessionFiles(agent, "js-1", { path: "many", limit: 2 }));
assert.deepEqual(many.map((entry) => entry.name), ["1", "2", "3"]);
const remove = (path, options) => agents.deleteSessionFile(agent, "js-1", path, options);
await refused(409, "not_empty", () => remove("many"));
await remove("many", { recursive: true });
await remove("data/in put.txt");
await refused(404, "file_not_found", () => remove("data/in put.txt"));
await refused(400, "invalid_file_path", () =>
  agents.uploadSessionFile(agent, "js-1", "../x", content),
);

// Its log.
const log = await agents.getSessionLogStream(agent, version, "js-1");
for await (const part of log.readableStreamBody) {
  assert(part.toString().startsWith("event: log\ndata: {"));
  break;
}
log.readableStreamBody.destroy?.();

// Lists.
for (const n of [3, 4, 5]) {
  await agents.createSession(agent, now, { agentSessionId: `js-${n}` });
}
const ids = async (options) =>
  (await all(agents.listSessions(agent, options))).map((one) => one.agent_session_id);
assert.deepEqual(await ids(), ["js-5", "js-4", "js-3", "js-2", "js-1"]);
assert.deepEqual(await ids({ limit: 2, order: "asc" }), ["js-1", "js-2", "js-3", "js-4", "js-5"]);

// Stop, delete.
await agents.stopSession(agent, "js-1");
const stopped = await agents.getSession(agent, "js-1");
assert.equal(stopped.status, "idle");
assert(stopped.stopped_at instanceof Date && stopped.stopped_at >= stopped.created_at);
await refused(409, "session_already_stopped", () => agents.stopSession(agent, "js-1"));
await agents.deleteSession(agent, "js-1");
await agents.deleteSession(agent, "js-1");
await refused(404, "session_not_found", () => agents.getSession(agent, "js-1"));

// Agents.
assert.equal((await agents.get(agent)).state, "enabled");
await agents.disable(agent);
await refused(409, "agent_disabled", () => agents.createSession(agent, now));
await agents.enable(agent);
console.log("every operation");
process.exit(0);
