// A real coordinator with real agents, and a browser that looks at it.
import { execFileSync, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./serve.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const binary = process.env.GREENROOM_BIN;
export const ARTEFACTS = join(here, "artefacts");

export const pause = (ms) => new Promise((then) => setTimeout(then, ms));

/** Waits until something is so, and gives it back. */
export async function until(what, test, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await test();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not so within ${ms} ms: ${what}`);
    await pause(50);
  }
}

function repository(folder) {
  const git = (...args) =>
    execFileSync(
      "git",
      ["-C", folder, "-c", "user.name=e2e", "-c", "user.email=e2e@example.com", ...args],
      { stdio: "pipe" },
    );
  execFileSync("git", ["init", "-q", "-b", "main", folder]);
  execFileSync(
    "sh",
    [
      "-c",
      "printf '# Notes\\n- nothing yet\\n' > notes.md; printf 'print(\"hello\")\\n' > main.py",
    ],
    { cwd: folder },
  );
  git("add", "-A");
  git("commit", "-qm", "first");
}

export class Server {
  children = new Set();

  /** With `terminal` its coordinator believes that a person reads what it prints. */
  static async start({ up = true, more = [], terminal = false } = {}) {
    const server = new Server();
    server.more = more;
    server.terminal = terminal;
    server.folder = await mkdtemp(join(tmpdir(), "greenroom-e2e-"));
    server.data = join(server.folder, "data");
    server.agents = join(server.folder, "agents");
    const source = join(server.folder, "source");
    await mkdir(server.agents);
    await mkdir(source);
    repository(source);
    execFileSync("sh", ["-c", `cp "${here}"agents/*.yaml "${server.agents}"`]);
    await writeFile(
      join(server.agents, "gitter.yaml"),
      `name: gitter\ndescription: Works in a clone of a repository\ndriver: command\ncommand: [sh, -c, "echo '- changed' >> notes.md; echo new > added.txt; echo done"]\nworkspace: { from: git, url: ${source} }\n`,
    );
    server.listen = "127.0.0.1:0";
    await server.begin(up ? "up" : "serve");
    server.token = (await readFile(join(server.data, "token"), "utf8")).trim();
    await server.open();
    return server;
  }

  /** Starts the coordinator, on the port it had before if it had one. */
  async begin(verb = "up") {
    this.verb = verb;
    this.process = await this.spawn(
      [verb, "--listen", this.listen, "--data", this.data, "--agents", this.agents, ...this.more],
      /is up at (http\S+)/,
    );
    this.url = this.process.said;
    this.listen = new URL(this.url).host;
  }

  async spawn(args, ready) {
    const [command, ...words] = this.terminal
      ? ["python3", "-c", "import pty, sys; pty.spawn(sys.argv[1:])", binary, ...args]
      : [binary, ...args];
    const child = spawn(command, words, {
      env: {
        ...process.env,
        PATH: `${join(here, "agents")}:${process.env.PATH}`,
        NO_COLOR: "1",
        GREENROOM_URL: "",
        GREENROOM_TOKEN: "",
        GREENROOM_DATA: "",
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.children.add(child);
    child.on("exit", () => this.children.delete(child));
    let text = "";
    await new Promise((then, fail) => {
      const look = (chunk) => {
        text += chunk;
        child.text = text;
        const found = ready.exec(text);
        if (found === null) return;
        child.said = found[1];
        then();
      };
      child.stdout.on("data", look);
      child.stderr.on("data", look);
      child.on("exit", () => fail(new Error(`it ended: ${text}`)));
      setTimeout(() => fail(new Error(`it did not come up: ${text}`)), 20_000).unref();
    });
    return child;
  }

  /** Ends the coordinator without a word. Its agents live on. */
  async kill() {
    const { process: child } = this;
    const gone = new Promise((then) => child.on("exit", then));
    child.kill("SIGKILL");
    await gone;
  }

  /**
   * Whether the binary has the dashboard in it; else, or when GREENROOM_PAGE is `dist`, a stand-in
   * serves what was built here.
   */
  async open() {
    const page = await (await fetch(`${this.url}/`)).text();
    this.native = page.includes('id="root"') && process.env.GREENROOM_PAGE !== "dist";
    if (!this.native) {
      this.stand = await serve({ coordinator: this.url });
      this.base = `http://127.0.0.1:${this.stand.address().port}`;
    } else this.base = this.url;
  }

  async api(method, path, body) {
    const response = await fetch(`${this.url}/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text;
    if (!response.ok)
      throw Object.assign(new Error(`${method} ${path}: ${text}`), { status: response.status });
    return json;
  }

  create(agent, more = {}) {
    return this.api("POST", "/sessions", { agent, ...more });
  }

  session(id) {
    return this.api("GET", `/sessions/${id}`);
  }

  status(id, ...wanted) {
    return until(`${id} is ${wanted}`, async () => {
      const session = await this.session(id);
      return wanted.includes(session.status) && session;
    });
  }

  async has(method, path) {
    this.described ??= await (
      await fetch(`${this.url}/openapi.json`, {
        headers: { authorization: `Bearer ${this.token}` },
      })
    ).json();
    return this.described.paths[path]?.[method] !== undefined;
  }

  async events(id) {
    const all = [];
    for (let from = 1; from !== null; ) {
      const page = await this.api("GET", `/sessions/${id}/events?from=${from}&limit=1000`);
      all.push(...page.items);
      from = page.next_cursor;
    }
    return all;
  }

  async end() {
    this.stand?.closeAllConnections();
    this.stand?.close();
    try {
      execFileSync(binary, ["down", "--agents", "--data", this.data], {
        stdio: "pipe",
        timeout: 30_000,
      });
    } catch {
      // It was not running; what it had is ended below.
    }
    for (const child of this.children) child.kill("SIGKILL");
    try {
      execFileSync(binary, ["local", "stop", "--data", this.data], {
        stdio: "pipe",
        timeout: 30_000,
      });
    } catch {
      // Nothing was left.
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

export async function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

/** A person at a screen: signed in, unless told otherwise, with a record of everything that went wrong. */
export async function person(chrome, server, { signedIn = true, ...options } = {}) {
  const context = await chrome.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (message) => {
    const text = message.text();
    if (
      message.type() === "error" &&
      !text.includes("Failed to load resource") &&
      !text.includes("net::ERR")
    )
      page.faults.push(text);
  });
  page.outside = [];
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(server.base) && !url.startsWith("data:") && !url.startsWith("blob:"))
      page.outside.push(url);
  });
  if (signedIn) {
    const data = { token: server.token };
    const login = await context.request.post(`${server.base}/v1/login`, { data });
    if (!login.ok()) throw new Error(`nobody is signed in: ${await login.text()}`);
  }
  page.at = (path) => page.goto(server.base + path);
  return page;
}

/** The badge of a session's own page. Where it does not come, the error says what there is instead. */
export function badge(page, status) {
  const one = page.locator(`[data-part=status] [data-status=${status}]`);
  const waitFor = one.waitFor.bind(one);
  one.waitFor = async (options) => {
    try {
      await waitFor(options);
    } catch (error) {
      const said = await page.evaluate(async () => {
        const texts = (query) => [...document.querySelectorAll(query)].map((e) => e.innerText);
        const id = location.pathname.split("/")[2] ?? "";
        const answer = await fetch(`/v1/sessions/${id}`).then((reply) => reply.json());
        return {
          page: location.pathname,
          badges: texts("[data-part=status]"),
          dialogs: texts("[role=dialog]"),
          notes: texts("[role=status], [role=alert]"),
          coordinator: [answer.status, answer.version, answer.last_seq, answer.receipt?.survivors],
        };
      });
      error.message += `\n${JSON.stringify({ ...said, faults: page.faults }, null, 1)}`;
      throw error;
    }
  };
  return one;
}
