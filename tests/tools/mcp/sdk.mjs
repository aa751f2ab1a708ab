// The orchestrator's own SDK, as it is in the registry, at our door: a run and its result, the
// session resumed, one stopped, one that does not exist. Arguments: the folder of packages, the
// door's address. The token is in the environment. Says what it has seen, as JSON.
import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";

// The package is made for bundlers: it names its own files without their endings.
registerHooks({
  resolve(specifier, context, next) {
    const own = specifier.startsWith("./") && context.parentURL?.includes("agent-orchestrator-sdk");
    return next(own && !specifier.endsWith(".js") ? `${specifier}.js` : specifier, context);
  },
});

const [, , packages, baseUrl] = process.argv;
const sdk = `${packages}/@rawe/agent-orchestrator-sdk/dist/index.js`;
const { CoordinatorClient } = await import(pathToFileURL(sdk).href);
const client = new CoordinatorClient({ baseUrl, getToken: async () => process.env.TOKEN });

const first = await client.startRun({ agentName: "echo", parameters: { prompt: "apple" } });
const apple = await first.waitForResult();
const again = await client.resumeSession(first.sessionId, { prompt: "pear" });
const pear = await again.waitForResult();

const held = await client.startRun({ agentName: "holder", parameters: { prompt: process.env.MARK } });
await held.stop();
const stopped = await held.waitForResult();

const said = async (asked) => {
  try {
    await asked();
    return null;
  } catch (error) {
    return error.message;
  }
};
const nobody = await said(() => client.startRun({ agentName: "nobody", parameters: { prompt: "x" } }));
const bad = await said(() => client.startRun({ agentName: "echo", parameters: { wrong: 1 } }));
const gone = await said(() => client.resumeSession("ses_not_there", { prompt: "x" }));

const ids = [first.sessionId, again.sessionId, held.sessionId];
console.log(JSON.stringify({ apple, pear, stopped, ids, nobody, bad, gone }));
