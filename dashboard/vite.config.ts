import { fileURLToPath } from "node:url";
import tailwind from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// A page in development speaks to a real coordinator. The token stays in this process.
const coordinator = process.env.GREENROOM_URL ?? "http://127.0.0.1:7070";
const token = process.env.GREENROOM_TOKEN;
const upstream = {
  target: coordinator,
  changeOrigin: true,
  headers: token ? { authorization: `Bearer ${token}` } : {},
  configure: (proxy: {
    on: (event: "proxyReq", then: (request: ProxyRequest) => void) => void;
  }) => {
    proxy.on("proxyReq", (request) => {
      // The coordinator answers pages of its own address only, and this one is not.
      request.removeHeader("origin");
      request.removeHeader("sec-fetch-site");
    });
  },
};

interface ProxyRequest {
  removeHeader(name: string): void;
}

const proxy = { "/v1": upstream, "/openapi.json": upstream, "/healthz": upstream };

export default defineConfig({
  plugins: [react(), tailwind()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    target: "es2022",
    assetsDir: "assets",
    manifest: true,
    // Everything is a file of its own: the policy of the page allows no inlined scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy },
  preview: { proxy },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
