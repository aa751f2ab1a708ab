import { Component, type ReactNode } from "react";
import { ErrorNote } from "./bits";

interface State {
  error: unknown;
}

/** Keeps a fault in one part of the page from taking the rest with it. */
export class ErrorBoundary extends Component<{ children: ReactNode }, State> {
  override state: State = { error: null };

  static getDerivedStateFromError(error: unknown): State {
    return { error };
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    return (
      <div className="p-4">
        <ErrorNote error={this.state.error} onRetry={() => this.setState({ error: null })} />
      </div>
    );
  }
}
