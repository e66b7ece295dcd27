{{/*
Seconds that a pod of the service answers on after it was told to end. The program stops to listen at once then, and it
takes a moment until every node and Ingress has heard that the pod is none of the Service's any more.
*/}}
{{- define "stocktake.linger" -}}
5
{{- end -}}

{{/* What the HTTP service alone is told. What settings.http says stands in the ConfigMap, and is not said again. */}}
{{- define "stocktake.httpVariables" -}}
{{- $given := .Values.settings.http | default dict -}}
{{- $variables := dict -}}
{{- if not $given.listen -}}
{{- $_ := set $variables "LISTEN" (include "stocktake.listen" .) -}}
{{- end -}}
{{- with .Values.service.tokensSecret -}}
{{- $_ := set $variables "TOKENS_FILE" (print "/run/stocktake/tokens/" .key) -}}
{{- end -}}
{{- if .Values.service.tlsSecret -}}
{{- $_ := set $variables "TLS_CERT_FILE" "/run/stocktake/tls/tls.crt" -}}
{{- $_ := set $variables "TLS_KEY_FILE" "/run/stocktake/tls/tls.key" -}}
{{- end -}}
{{- range $key, $value := $variables }}
- name: STOCKTAKE_HTTP__{{ $key }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "stocktake.httpPorts" -}}
- name: http
  containerPort: {{ include "stocktake.listenPort" . }}
{{- end -}}

{{- define "stocktake.httpMounts" -}}
{{- if .Values.service.tokensSecret }}
- name: tokens
  mountPath: /run/stocktake/tokens
  readOnly: true
{{- end }}
{{- if .Values.service.tlsSecret }}
- name: tls
  mountPath: /run/stocktake/tls
  readOnly: true
{{- end }}
{{- end -}}

{{/* Folders and not single files, so that a changed Secret reaches the service, which reads its files again. */}}
{{- define "stocktake.httpVolumes" -}}
{{- with .Values.service.tokensSecret }}
- name: tokens
  secret:
    secretName: {{ .name | quote }}
    # The program refuses a file of tokens that others may write, and warns of one that others may read.
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: {{ .key | quote }}
{{- end }}
{{- with .Values.service.tlsSecret }}
- name: tls
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- end -}}
