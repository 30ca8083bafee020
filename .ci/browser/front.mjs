// A reverse proxy that speaks TLS in front of the page for paired devices, as Caddy or Tailscale does.

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent, createServer as createPlain, request } from "node:http";
import { createServer, request as requestTls } from "node:https";
import { createServer as createSocket } from "node:net";
import { join } from "node:path";

/** The host of the page. The browser is told that it is this machine. */
export const HOST = "phone.example";
/** The host of somebody else, likewise. */
export const EVIL = "evil.example";

/** Makes a certificate with openssl. Returns its files, and what the browser accepts it by. */
export function makeCertificate(folder) {
  const [cert, key] = [join(folder, "page.crt"), join(folder, "page.key")];
  const openssl = (args, options = {}) => execFileSync("openssl", args, { stdio: ["pipe", "pipe", "ignore"], ...options });
  openssl(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
    "-subj", `/CN=${HOST}`, "-addext", `subjectAltName=DNS:${HOST},DNS:${EVIL}`, "-keyout", key, "-out", cert]);
  const spki = openssl(["pkey", "-pubin", "-outform", "der"], { input: openssl(["x509", "-in", cert, "-noout", "-pubkey"]) });
  const hash = openssl(["dgst", "-sha256", "-binary"], { input: spki }).toString("base64");
  return { cert: readFileSync(cert), key: readFileSync(key), hash };
}

/** Returns a port at which nobody listens now. */
export async function freePort() {
  const server = createSocket().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a server over TLS, or a plain one. */
export async function serve(handler, certificate) {
  const server = certificate ? createServer(certificate, handler) : createPlain(handler);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: server.address().port, end: () => (server.closeAllConnections(), server.close()) };
}

/** Passes requests on to `port` of this machine, with the `Host` that the browser sent. */
export function startFront(certificate, port) {
  const agent = new Agent({ keepAlive: true });
  return serve((asked, answer) => {
    const headers = { ...asked.headers, "x-forwarded-for": asked.socket.remoteAddress, "x-forwarded-proto": "https" };
    const passed = request({ host: "127.0.0.1", port, agent, method: asked.method, path: asked.url, headers, setHost: false });
    passed.on("response", (response) => {
      answer.writeHead(response.statusCode, response.headers);
      // A stream of events must reach the phone at once.
      answer.flushHeaders();
      response.pipe(answer);
      response.on("error", () => answer.destroy());
    });
    passed.on("error", () => (answer.headersSent ? answer.destroy() : answer.writeHead(502).end()));
    answer.on("close", () => passed.destroy());
    asked.pipe(passed);
  }, certificate);
}

/** Sends exactly this request to this machine, whatever the host of the URL. Returns status, headers and text. */
export async function ask(url, { method = "GET", headers = {}, form, certificate, from = "127.0.0.1" } = {}) {
  const body = form === undefined ? undefined : new URLSearchParams(form).toString();
  const type = body === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" };
  const { protocol, hostname, host, port, pathname, search } = new URL(url);
  const isTls = protocol === "https:";
  const options = { host: "127.0.0.1", localAddress: from, port, method, path: pathname + search, agent: false };
  options.headers = { host, ...type, ...headers };
  if (isTls) Object.assign(options, { servername: hostname, ca: certificate.cert });
  const asked = (isTls ? requestTls : request)(options);
  asked.end(body);
  const [response] = await once(asked, "response");
  let text = "";
  for await (const bytes of response) text += bytes;
  return { status: response.statusCode, headers: response.headers, text };
}
