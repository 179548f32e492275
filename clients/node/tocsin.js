// The five services of a Tocsin server, from the .proto files: nothing is generated.
import { fileURLToPath } from "node:url";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const root = fileURLToPath(new URL("../..", import.meta.url));
const services = ["notification", "inbox", "recipient", "tenant", "system"];
const definition = protoLoader.loadSync(
  services.map((name) => `tocsin/v1/${name}_service.proto`),
  { includeDirs: [`${root}/proto`, `${root}/third_party/proto`], longs: String, enums: String, arrays: true, oneofs: true },
);
const { tocsin } = grpc.loadPackageDefinition(definition);

/** Clients of all services at a target; `apiKey` is sent with every call. */
export function connect(target, apiKey) {
  const credentials = grpc.credentials.createInsecure();
  const interceptors = apiKey ? [withKey(apiKey)] : [];
  return Object.fromEntries(
    Object.entries(tocsin.v1)
      .filter(([name]) => name.endsWith("Service"))
      .map(([name, Service]) => [name, new Service(target, credentials, { interceptors })]),
  );
}

/** A unary call as a promise, with a deadline in seconds. */
export function call(client, method, request, seconds = 10) {
  const deadline = new Date(Date.now() + seconds * 1000);
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

function withKey(key) {
  return (options, next) =>
    new grpc.InterceptingCall(next(options), {
      start(metadata, listener, proceed) {
        metadata.set("authorization", `Bearer ${key}`);
        proceed(metadata, listener);
      },
    });
}
