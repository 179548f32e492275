// node send.js RECIPIENT TITLE [BODY]
import { randomUUID } from "node:crypto";

import { call, connect } from "./tocsin.js";

const [recipient, title, body = ""] = process.argv.slice(2);
const { NotificationService } = connect(process.env.TOCSIN_TARGET ?? "localhost:7700", process.env.TOCSIN_API_KEY);

const { result } = await call(NotificationService, "Send", {
  requestId: randomUUID(), // sent again with the same one, nothing happens twice
  notification: { recipient, category: "example", content: { simple: { title, body } } },
});
console.log(JSON.stringify(result));
