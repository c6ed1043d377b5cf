"""The manifests in deploy/kubernetes: each by Kubernetes' own schema, and all of them together."""
