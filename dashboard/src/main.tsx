import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { whenSignedOut } from "./api/client";
import { meQuery, queries } from "./api/queries";
import "./app.css";
import { router } from "./router";
import { TipProvider } from "./ui/button";
import { Toasts } from "./ui/toast";

whenSignedOut(() => {
  queries.removeQueries({ queryKey: meQuery.queryKey });
  if (location.pathname === "/login") return;
  void router.navigate({ to: "/login", search: { to: location.pathname + location.search } });
});

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <TipProvider>
        <RouterProvider router={router} />
        <Toasts />
      </TipProvider>
    </QueryClientProvider>
  </StrictMode>,
);
