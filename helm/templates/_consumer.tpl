{{/* The pods of the consumers, which a Deployment or a StatefulSet runs. */}}
{{- define "stocktake.consumerPod" -}}
{{- $pod := dict "root" . "component" "consumer" -}}
metadata:
  {{- include "stocktake.podMetadata" $pod | nindent 2 }}
spec:
  {{- include "stocktake.podSpec" $pod | nindent 2 }}
  containers:
    {{- range $repository := include "stocktake.repositories" . | fromJsonArray }}
    {{- include "stocktake.container" (dict
          "root" $
          "name" $repository
          "args" (list "consume" "--repository" $repository "--workers" (int64 $.Values.consumer.workers | toString))
          "role" "consumer"
          "repository" $repository
          "period" $.Values.consumer.probePeriodSeconds
          "env" (include "stocktake.instanceId" $)
          "resources" $.Values.consumer.resources
        ) | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "stocktake.volumes" $pod | nindent 4 }}
{{- end -}}

{{/* The name by which a pod comes back to its consumer group; nothing without static membership. */}}
{{- define "stocktake.instanceId" -}}
{{- if .Values.consumer.staticMembership -}}
- name: STOCKTAKE_KAFKA__INSTANCE_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end -}}
{{- end -}}
