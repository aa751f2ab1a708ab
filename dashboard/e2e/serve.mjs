// Stands in for a coordinator that was built without the dashboard: serves ../dist under a
// strict policy, and hands everything else on to the real coordinator.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer, request } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));

export const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const KINDS = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".json": "application/json",
};
const API = /^\/(v1\/|v1$|openapi\.json|healthz|readyz|metrics)/;

/** Serves until it is closed. Whoever looks signs in, as with the coordinator itself. */
export function serve({ coordinator, port = 0 }) {
  const upstream = new URL(coordinator);
  const server = createServer((incoming, outgoing) => {
    const { pathname, searchParams } = new URL(incoming.url, "http://page");
    if (API.test(pathname) || (pathname === "/login" && searchParams.has("code"))) {
      const { origin, referer: _, ...headers } = incoming.headers;
      // What comes from this page's address comes from the coordinator's.
      const own = origin === `http://${incoming.headers.host}`;
      const asked = request(
        {
          host: upstream.hostname,
          port: upstream.port,
          path: incoming.url,
          method: incoming.method,
          headers: {
            ...headers,
            host: upstream.host,
            ...(origin === undefined ? {} : { origin: own ? upstream.origin : origin }),
          },
        },
        (answer) => {
          outgoing.writeHead(answer.statusCode, answer.headers);
          answer.pipe(outgoing);
          answer.on("error", () => outgoing.destroy());
        },
      );
      asked.on("error", () => {
        if (!outgoing.headersSent) outgoing.writeHead(502);
        outgoing.end();
      });
      outgoing.on("close", () => asked.destroy());
      incoming.pipe(asked);
      return;
    }
    const wanted = normalize(join(dist, pathname));
    const file =
      wanted.startsWith(dist) && existsSync(wanted) && statSync(wanted).isFile()
        ? wanted
        : join(dist, "index.html");
    outgoing.writeHead(200, {
      "content-type": KINDS[extname(file)] ?? "application/octet-stream",
      "content-security-policy": POLICY,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": pathname.startsWith("/assets/") ? "max-age=31536000, immutable" : "no-cache",
    });
    createReadStream(file).pipe(outgoing);
  });
  return new Promise((then) => server.listen(port, "127.0.0.1", () => then(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve({
    coordinator: process.env.GREENROOM_URL,
    port: Number(process.env.PORT ?? 0),
  });
  console.log(`http://127.0.0.1:${server.address().port}`);
}
