{{/*
A NetworkPolicy for the pods of one `.component`: they may look up names and connect to what `.needs` lists by the names
of networkPolicy's values. Nothing may connect to them but, with `.http`, who may call the service.
*/}}
{{- define "stocktake.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "stocktake.fullname" .root }}-{{ .component }}
  labels:
    {{- include "stocktake.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  podSelector:
    matchLabels:
      {{- include "stocktake.componentSelector" . | nindent 6 }}
  # What is not allowed below is denied, in both directions.
  policyTypes: [Ingress, Egress]
  {{- if and .http $policy.http.from }}
  ingress:
    - from:
        {{- toYaml $policy.http.from | nindent 8 }}
      ports:
        - protocol: TCP
          port: http
  {{- end }}
  egress:
    {{- include "stocktake.egress" (dict "destination" $policy.dns "protocols" (list "UDP" "TCP")) | nindent 4 }}
    {{- range .needs }}
    {{- include "stocktake.egress" (dict "destination" (get $policy .) "protocols" (list "TCP")) | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* One rule; without peers it is about any address. */}}
{{- define "stocktake.egress" -}}
{{- $protocols := .protocols -}}
- ports:
    {{- range $port := .destination.ports }}
    {{- range $protocols }}
    - protocol: {{ . }}
      port: {{ int64 $port }}
    {{- end }}
    {{- end }}
  {{- with .destination.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* What the writer connects to, as a JSON list: sinks of kafka: are topics. */}}
{{- define "stocktake.writerNeeds" -}}
{{- $needs := list "redis" -}}
{{- range $name, $sink := .Values.settings.sinks -}}
{{- $needs = append $needs (hasPrefix "kafka:" $sink.url | ternary "kafka" "sinks") -}}
{{- end -}}
{{- uniq $needs | toJson -}}
{{- end -}}
