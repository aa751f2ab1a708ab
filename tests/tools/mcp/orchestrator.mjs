// Drives the seven tools of the orchestrator's MCP server with the protocol's own client.
// Arguments: the folder of packages, the server's address, a token. Each line on standard
// input is {"tool", "arguments", "headers"}; each line on standard output is the answer.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [, , packages, url, token] = process.argv;
const sdk = `${packages}/@modelcontextprotocol/sdk/dist/esm/client`;
const { Client } = await import(pathToFileURL(`${sdk}/index.js`).href);
const { StreamableHTTPClientTransport } = await import(
  pathToFileURL(`${sdk}/streamableHttp.js`).href
);

async function connected(headers, work) {
  const client = new Client({ name: "a test", version: "1" });
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    requestInit: { headers: { authorization: `Bearer ${token}`, ...headers } },
  });
  await client.connect(transport);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  const answer = await connected(asked.headers ?? {}, async (client) => {
    if (asked.tool === undefined) return (await client.listTools()).tools;
    const done = await client.callTool({ name: asked.tool, arguments: asked.arguments ?? {} });
    return JSON.parse(done.content[0].text);
  });
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
