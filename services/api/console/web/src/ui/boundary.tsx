import { Component, type ComponentChildren } from "preact";

/** Shows a sentence instead of a page that failed, such as one with an address that cannot be decoded. */
export class Boundary extends Component<{ children: ComponentChildren }, { hasFailed: boolean }> {
  override state = { hasFailed: false };

  static override getDerivedStateFromError() {
    return { hasFailed: true };
  }

  override render() {
    if (!this.state.hasFailed) return this.props.children;
    return (
      <main>
        <h1>This page failed</h1>
        <p role="alert">
          The page cannot show this address. <a href="/console/">Go to the first page</a>
        </p>
      </main>
    );
  }
}
