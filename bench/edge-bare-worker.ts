import { Hono } from "hono";

/** What the gateway is measured against: the least that a Hono Worker does to answer with the same bytes, or to pass a call on. */
const app = new Hono<{ Bindings: { PAGE: ArrayBuffer; ORIGIN_URL: string } }>();
app.get("/douyin/feed/", (c) => c.body(c.env.PAGE, 200, { "content-type": "application/json" }));
app.post("*", async (c) => {
  const body = await c.req.arrayBuffer();
  const headers = { ...c.req.header() };
  const answer = await fetch(c.env.ORIGIN_URL + c.req.path, { method: "POST", headers, body });
  return c.body(await answer.arrayBuffer());
});

export default app;
