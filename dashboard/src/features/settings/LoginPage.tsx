import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useRef, useState } from "react";
import { send } from "@/api/client";
import { meQuery, queries } from "@/api/queries";
import type { SignedIn } from "@/api/types";
import { ErrorNote } from "@/ui/bits";
import { Button } from "@/ui/button";
import { useTitle } from "../notify";

/** A code from the address: it is good once, and leaves the address at once. */
function takeCode(): string | null {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code !== null) history.replaceState(history.state, "", location.pathname + location.search);
  return code;
}

export function LoginPage() {
  useTitle("Sign in");
  const { to } = useSearch({ from: "/login" });
  const navigate = useNavigate();
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const began = useRef(false);

  const enter = useCallback(
    async (secret: string) => {
      setBusy(true);
      setError(null);
      try {
        const body = { token: secret };
        const response = await send("/v1/login", { method: "POST", body, quiet: true });
        const me = (await response.json()) as SignedIn;
        queries.clear();
        queries.setQueryData(meQuery.queryKey, me);
        void navigate({
          to: to?.startsWith("/") === true && !to.startsWith("//") ? to : "/",
          replace: true,
        });
      } catch (problem) {
        setError(problem);
      }
      setBusy(false);
    },
    [navigate, to],
  );

  useEffect(() => {
    if (began.current) return;
    began.current = true;
    const code = takeCode();
    if (code !== null) void enter(code);
  }, [enter]);

  return (
    <main className="grid h-full place-items-center p-4">
      <div className="w-full max-w-sm">
        <div className="mb-5 flex items-center gap-3">
          <img src="/assets/favicon.svg" alt="" width="34" height="34" />
          <h1 className="font-semibold text-lg">Sign in to Greenroom</h1>
        </div>
        <form
          className="card flex flex-col gap-3 p-5"
          onSubmit={(event) => {
            event.preventDefault();
            if (token.trim() !== "") void enter(token.trim());
          }}
        >
          <label className="flex flex-col gap-1">
            <span className="text-dim text-xs">Token, or the code of a one-time link</span>
            <input
              type="password"
              className="field font-mono"
              // biome-ignore lint/a11y/noAutofocus: there is nothing else on this page
              autoFocus
              autoComplete="off"
              spellCheck={false}
              value={token}
              onChange={(event) => setToken(event.target.value)}
            />
          </label>
          <Button type="submit" look="primary" busy={busy} disabled={token.trim() === ""}>
            Sign in
          </Button>
          {error !== null ? <ErrorNote error={error} compact /> : null}
        </form>
        <p className="mt-4 px-1 text-faint text-xs">
          On the coordinator's machine the token is in the file{" "}
          <code className="font-mono">token</code> of its data folder. It is asked for once: what
          stays in this browser is a cookie that no script can read.
        </p>
      </div>
    </main>
  );
}
