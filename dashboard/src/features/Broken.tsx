import { Link } from "@tanstack/react-router";
import { Empty, ErrorNote } from "@/ui/bits";
import { Button } from "@/ui/button";

/** A page that could not be shown. */
export function Broken({ error, reset }: { error: unknown; reset?: () => void }) {
  return (
    <main className="mx-auto max-w-xl px-4 py-16">
      <h1 className="mb-3 font-semibold text-lg">This page could not be shown</h1>
      <ErrorNote
        error={error}
        onRetry={() => (reset === undefined ? location.reload() : reset())}
      />
      <div className="mt-3 flex gap-2">
        <Button icon="refresh" onClick={() => location.reload()}>
          Load the page again
        </Button>
      </div>
    </main>
  );
}

export function NotFound() {
  return (
    <main>
      <Empty icon="question" title="There is nothing at this address">
        <Link to="/" className="text-accent underline">
          All sessions
        </Link>
      </Empty>
    </main>
  );
}
