// What an EventSource goes through, also behind nginx, and what node-redis does with transactions.
import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EventSource } from "eventsource";
import { createClient } from "redis";

const [url] = process.argv.slice(2);
const { SNOWTIDE, SNOWTIDE_DATA, SNOWTIDE_REDIS } = process.env;
// Far longer than anything takes that ever happens, and shorter than what a proxy would hold back.
const DEADLINE_MS = 10_000;

function equal(found, expected) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one}, expected ${other}`);
}

async function refused(promise, words) {
  const error = await promise.then(
    (value) => new Error(`not refused: ${JSON.stringify(value)}`),
    (error) => error,
  );
  if (!`${error}`.includes(words)) throw error;
}

async function increment(key) {
  const answer = await fetch(`${url}/v1/counters/default/${encodeURIComponent(key)}/increment`, { method: "POST" });
  equal(answer.status, 200);
}

/** What to watch a counter by, for those who cannot send a token. */
async function ticket(key) {
  const answer = await fetch(`${url}/v1/watch-tickets`, {
    method: "POST",
    body: JSON.stringify({ namespace: "default", key }),
  });
  equal(answer.status, 200);
  return (await answer.json()).url;
}

/** A watched counter, and what came of it. */
class Watched {
  constructor(base, watch) {
    this.values = [];
    this.refusals = [];
    this.source = new EventSource(base + watch);
    this.source.onmessage = (event) => this.values.push(JSON.parse(event.data).value);
    this.source.addEventListener("refused", (event) => this.refusals.push(JSON.parse(event.data).code));
  }

  async until(what, condition) {
    for (let waited = 0; !condition(); waited += 20) {
      if (this.source.readyState === EventSource.CLOSED) throw new Error(`ended for good before ${what}`);
      if (waited > DEADLINE_MS) throw new Error(`in vain: ${what}: ${JSON.stringify([this.values, this.refusals])}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function comesBack() {
  const watched = new Watched(url, await ticket("drained"));
  await watched.until("the first value", () => watched.values.at(-1) === "0");
  execFileSync(SNOWTIDE, ["cluster", "drain", "--data-dir", SNOWTIDE_DATA, "--within", "1s"], { stdio: "ignore" });
  // The first ends the stream, the second answers the next try.
  await watched.until("two refusals", () => watched.refusals.length >= 2);
  equal([...new Set(watched.refusals)], ["draining"]);
  execFileSync(SNOWTIDE, ["cluster", "resume", "--data-dir", SNOWTIDE_DATA], { stdio: "ignore" });
  await increment("drained");
  await watched.until("the value after that", () => watched.values.at(-1) === "1");
  equal(watched.values, ["0", "1"]);
  watched.source.close();
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function passesNginx() {
  const dir = mkdtempSync(join(tmpdir(), "snowtide-nginx-"));
  const port = await freePort();
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${dir}/${kind};`);
  const server = `server { listen 127.0.0.1:${port}; location / { proxy_pass ${url}; } }`;
  const config = `daemon off; pid ${dir}/pid; error_log ${dir}/log; events {} http { access_log off; ${paths.join(" ")} ${server} }`;
  writeFileSync(join(dir, "nginx.conf"), config);
  const nginx = spawn("nginx", ["-p", dir, "-c", join(dir, "nginx.conf")], { stdio: "ignore" });
  try {
    const watched = new Watched(`http://127.0.0.1:${port}`, "/v1/counters/default/proxied/watch");
    await watched.until("the first value", () => watched.values.at(-1) === "0");
    for (const value of ["1", "2"]) {
      await increment("proxied");
      await watched.until(`the value ${value}`, () => watched.values.at(-1) === value);
    }
    watched.source.close();
  } finally {
    nginx.kill();
    await new Promise((resolve) => nginx.once("exit", resolve));
    rmSync(dir, { recursive: true });
  }
}

async function nodeRedis(RESP) {
  const client = await createClient({ url: `redis://${SNOWTIDE_REDIS}`, RESP }).connect();
  const key = `node-redis ${RESP}`;
  equal(await client.multi().incr(key).incrBy(key, 10).get(key).exec(), [1, 11, "11"]);
  equal(await client.multi().incr(key).incr(key).execAsPipeline(), [12, 13]);
  await refused(client.multi().incr(key).set(key, "1").exec(), "not served here");
  await refused(client.watch(key), "increments commute");
  equal(await client.get(key), "13");
  const rows = await client.command();
  equal(rows.length, await client.commandCount());
  const incr = rows.find(({ name }) => name === "incr");
  equal([incr.arity, incr.firstKeyIndex, incr.lastKeyIndex, incr.step], [2, 1, 1, 1]);
  equal([...incr.flags].sort(), ["denyoom", "fast", "write"]);
  equal((await client.commandInfo(["incr", "nonsense"])).map((row) => row?.name ?? null), ["incr", null]);
  client.destroy();
}

await nodeRedis(2);
await nodeRedis(3);
console.log("node-redis: transactions, pipelines, commands, in both versions of the protocol");
await comesBack();
console.log("EventSource: comes back by itself after a drain");
await passesNginx();
console.log("nginx: passes events on as they come, with nothing but proxy_pass");
