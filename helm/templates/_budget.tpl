{{/* The budget of the pods of one `.component`. */}}
{{- define "stocktake.budget" -}}
maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
# Pods that are not ready, since Kafka or Redis is away, may always be evicted: they would keep every node from being
# drained for as long.
unhealthyPodEvictionPolicy: AlwaysAllow
selector:
  matchLabels:
    {{- include "stocktake.componentSelector" . | nindent 4 }}
{{- end -}}
