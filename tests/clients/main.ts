// Mints, counts, lists and is refused, with a client whose types openapi-typescript has made from the document.
import createClient from "openapi-fetch";
import type { paths } from "./api";

declare const process: { argv: string[] };

const key = "typed/ключ?&#%";
const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

function equal<T>(found: T, expected: T): void {
  if (found !== expected) throw new Error(`${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
}

const minted = await client.POST("/v1/ids", { body: { count: 3 } });
const ids = typeof minted.data === "object" ? minted.data.ids : [];
equal(new Set(ids).size, 3);
const id = ids[0] ?? "";
const decoded = await client.GET("/v1/ids/{id}", { params: { path: { id } } });
equal(decoded.data?.id, id);

const path = { namespace: "default", key };
const once = () =>
  client.POST("/v1/counters/{namespace}/{key}/increment", {
    params: { path, header: { "Idempotency-Key": '"typed"' } },
    body: { by: "9007199254740993" },
  });
equal((await once()).data?.value, "9007199254740993");
const again = await once();
equal(again.data?.value, "9007199254740993");
equal(again.response.headers.get("Idempotent-Replayed"), "true");

const token = again.response.headers.get("Snowtide-Token") ?? "";
const read = await client.GET("/v1/counters/{namespace}/{key}", {
  params: { path, query: { view: "regions" }, header: { "Snowtide-Token": token } },
});
equal(read.data?.value, "9007199254740993");
equal(read.data?.view?.regions.length, 1);

const batch = await client.POST("/v1/batch", {
  body: { operations: [{ increment: { namespace: "default", key, by: -1 } }, { get: { namespace: "nowhere", key } }] },
});
equal(batch.data?.results.map((result) => result.status).join(), "200,404");

const listed: string[] = [];
let cursor: string | undefined;
do {
  const page = await client.GET("/v1/counters/{namespace}", {
    params: { path: { namespace: "default" }, query: { prefix: "typed/", limit: 1, cursor } },
  });
  listed.push(...(page.data?.counters ?? []).map((counter) => `${counter.key}=${counter.value}`));
  cursor = page.data?.next_cursor ?? undefined;
} while (cursor);
equal(listed.join(), `${key}=9007199254740992`);

const refused = await client.GET("/v1/counters/{namespace}/{key}", { params: { path: { namespace: "nowhere", key } } });
equal(refused.data, undefined);
equal(refused.error?.code, "unknown_namespace");
equal(refused.error?.request_id, refused.response.headers.get("X-Request-Id"));
console.log("TypeScript: minted, counted once, read, listed, refused");
