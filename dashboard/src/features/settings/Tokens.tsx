import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { createToken, perform, revokeToken } from "@/api/actions";
import { queries, tokensQuery } from "@/api/queries";
import type { NewToken, Role, Token } from "@/api/types";
import { ActDialog } from "@/ui/ActDialog";
import { Ago, CodeLine, Empty, ErrorNote, Id, Rows } from "@/ui/bits";
import { Button } from "@/ui/button";
import { Dialog } from "@/ui/overlay";

const ROLES: readonly { role: Role; about: string }[] = [
  { role: "admin", about: "everything" },
  { role: "operator", about: "own and shared sessions" },
  { role: "viewer", about: "looks at own and shared sessions" },
  { role: "runner", about: "lets a runner join, once" },
];

export function Tokens() {
  const tokens = useQuery(tokensQuery);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Token | null>(null);
  const items = tokens.data?.items ?? [];
  return (
    <div className="mx-auto max-w-3xl p-4">
      <div className="mb-3 flex items-center gap-3">
        <p className="flex-1 text-dim">
          A token speaks for a principal, who owns the sessions it creates. Its secret is said once,
          when it is made.
        </p>
        <Button look="primary" icon="key" onClick={() => setMaking(true)}>
          New token
        </Button>
      </div>
      {tokens.isError ? (
        <ErrorNote error={tokens.error} onRetry={() => void tokens.refetch()} />
      ) : null}
      {tokens.isPending ? <Rows n={3} height={44} /> : null}
      {tokens.isSuccess && items.length === 0 ? <Empty icon="key" title="No tokens" /> : null}
      <ul className="card divide-y overflow-hidden empty:hidden">
        {items.map((token) => (
          <li key={token.id} className="flex h-11 items-center gap-3 px-4">
            <span className="w-20 font-medium">{token.role}</span>
            <span className="min-w-0 flex-1 truncate">{token.principal}</span>
            <span className="hidden sm:inline">
              <Id id={token.id} short />
            </span>
            <span className="w-14 text-right text-faint text-xs">
              <Ago at={token.created_at} />
            </span>
            <Button
              small
              look="danger"
              aria-label={`Revoke the token of ${token.principal}`}
              onClick={() => setRevoking(token)}
            >
              Revoke
            </Button>
          </li>
        ))}
      </ul>
      {making ? <Make onClose={() => setMaking(false)} /> : null}
      {revoking !== null ? <Revoke token={revoking} onClose={() => setRevoking(null)} /> : null}
    </div>
  );
}

const again = () => void queries.invalidateQueries({ queryKey: tokensQuery.queryKey });

function Make({ onClose }: { onClose: () => void }) {
  const [role, setRole] = useState<Role>("operator");
  const [principal, setPrincipal] = useState("");
  const [made, setMade] = useState<NewToken | null>(null);
  const action = createToken(role, principal.trim() === "" ? undefined : principal.trim());
  const make = async () => {
    setMade(await perform(action));
    again();
  };
  if (made !== null) {
    return (
      <Dialog
        open
        onClose={onClose}
        title="The token is made"
        footer={<Button onClick={onClose}>Done</Button>}
      >
        <p className="mb-3">This is its secret. It is not shown again.</p>
        <CodeLine label="token" text={made.secret} />
      </Dialog>
    );
  }
  return (
    <ActDialog
      title="New token"
      command={action}
      verb="Make it"
      look="primary"
      act={make}
      onClose={onClose}
    >
      <fieldset className="flex flex-col gap-1">
        <legend className="mb-1 text-dim text-xs">Role</legend>
        {ROLES.map((one) => (
          <label key={one.role} className="flex items-center gap-2.5">
            <input
              type="radio"
              name="role"
              className="accent-accent-strong"
              checked={role === one.role}
              onChange={() => setRole(one.role)}
            />
            <span className="w-20">{one.role}</span>
            <span className="text-faint">{one.about}</span>
          </label>
        ))}
      </fieldset>
      <label className="flex flex-col gap-1">
        <span className="text-dim text-xs">Principal; the token's own id if empty</span>
        <input
          className="field"
          value={principal}
          onChange={(event) => setPrincipal(event.target.value)}
        />
      </label>
    </ActDialog>
  );
}

function Revoke({ token, onClose }: { token: Token; onClose: () => void }) {
  const revoke = async () => {
    await perform(revokeToken(token.id));
    again();
    onClose();
  };
  return (
    <ActDialog
      title={`Revoke the ${token.role} token of ${token.principal}?`}
      command={revokeToken(token.id)}
      verb="Revoke"
      look="danger"
      act={revoke}
      onClose={onClose}
    >
      <p>Whoever uses it is refused from now on, and their open streams end.</p>
    </ActDialog>
  );
}
