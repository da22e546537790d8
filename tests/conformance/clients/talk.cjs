// Talk through the ws package (https://github.com/websockets/ws): offer two subprotocols,
// send one message, print what was selected and answered.
const WebSocket = require("ws");

const socket = new WebSocket(process.argv[2], ["other", "probe.v1"]);
socket.on("open", () => socket.send(JSON.stringify({ action: "echo", from: "ws" })));
socket.on("message", (data) => {
  console.log(JSON.stringify({ protocol: socket.protocol, answer: JSON.parse(data) }));
  socket.close(1000, "done");
});
socket.on("unexpected-response", (request, response) => {
  console.log(JSON.stringify({ status: response.statusCode }));
  request.destroy();
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
