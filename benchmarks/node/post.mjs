// The way of the article's application: AWS SDK v3, all posts at once through Promise.all.
// Arguments: endpoint, posts, posts to warm up. Prints what it cost as JSON.

import {
  ApiGatewayManagementApiClient,
  PostToConnectionCommand,
} from "@aws-sdk/client-apigatewaymanagementapi";

const [endpoint, posts, warmUp] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const client = new ApiGatewayManagementApiClient({ endpoint });
const payload = JSON.stringify({
  type: "Entity Updated",
  entityId: "order-4711",
  message: "Your order has left the warehouse.",
  id: "7b1c2d3e-0000-4000-8000-000000000000",
  time: "2026-11-24T10:00:00Z",
  cursor: "MDAwMDAwMDAwMDAwMDA0NzEx",
});

const connectionIds = (count) =>
  Array.from({ length: count }, (_, number) => `L0SM${number.toString(16).padStart(8, "0")}IhQ=`);

const notify = (ids) =>
  Promise.all(
    ids.map((id) => client.send(new PostToConnectionCommand({ ConnectionId: id, Data: payload }))),
  );

await notify(connectionIds(warmUp));
const cpu = process.cpuUsage();
const start = process.hrtime.bigint();
await notify(connectionIds(posts));
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
const { user, system } = process.cpuUsage(cpu);
console.log(
  JSON.stringify({
    posts_per_second: posts / seconds,
    cpu_ms: (user + system) / 1000 / posts,
    peak_mb: process.resourceUsage().maxRSS / 1024,
    sink_share: 0,
  }),
);
process.exit(0);
