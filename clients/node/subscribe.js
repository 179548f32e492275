// node subscribe.js RECIPIENT [COUNT]: what is kept, then what arrives; a JSON line each. Ends after COUNT entries.
import grpc from "@grpc/grpc-js";

import { connect } from "./tocsin.js";

const [recipient, count = "0"] = process.argv.slice(2);
const { InboxService } = connect(process.env.TOCSIN_TARGET ?? "localhost:7700", process.env.TOCSIN_API_KEY);

let cursor = ""; // where to go on after an interruption
let left = Number(count);

function follow() {
  const stream = InboxService.Subscribe({ recipients: [{ recipient, cursor }], start: "START_BEGINNING" });
  stream.on("data", ({ events, progress }) => {
    for (const event of events) {
      cursor = event.cursor || cursor;
      if (event.event !== "notification") continue;
      console.log(JSON.stringify(event.notification));
      if (--left === 0) process.exit(0);
    }
    for (const position of progress?.positions ?? []) cursor = position.cursor;
  });
  stream.on("error", (error) => {
    if (error.code !== grpc.status.UNAVAILABLE) throw error; // a key that was revoked, a request that breaks a rule
    setTimeout(follow, 1000);
  });
}

follow();
