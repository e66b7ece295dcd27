{{/* The start of every object's name. It is cut at 50 characters to leave room for the suffixes. */}}
{{- define "stocktake.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a selector matches. Selectors cannot be changed later, so no version belongs here. */}}
{{- define "stocktake.selectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "stocktake.labels" -}}
{{ include "stocktake.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- end -}}

{{/* What the pods of one `.component` are found by. */}}
{{- define "stocktake.componentSelector" -}}
{{ include "stocktake.selectorLabels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "stocktake.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "stocktake.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "stocktake.claimName" -}}
{{- .Values.inventories.existingClaim | default (printf "%s-inventories" (include "stocktake.fullname" .)) -}}
{{- end -}}

{{/* Whether pods on several nodes can mount the volume, by what the values say of it: "true" or nothing. */}}
{{- define "stocktake.volumeShared" -}}
{{- if has "ReadWriteMany" .Values.inventories.accessModes -}}
true
{{- end -}}
{{- end -}}

{{/* The names of the repositories as a JSON list. Without any the program follows one called "main". */}}
{{- define "stocktake.repositories" -}}
{{- .Values.settings.repositories | default (dict "main" dict) | keys | sortAlpha | toJson -}}
{{- end -}}

{{/* The names of the archives that are asked, as a JSON list; each is that of its repository. */}}
{{- define "stocktake.archives" -}}
{{- .Values.settings.archives | default dict | keys | sortAlpha | toJson -}}
{{- end -}}

{{/* The topics of one `.repository`, as a JSON list. */}}
{{- define "stocktake.topics" -}}
{{- $given := dig .repository "topics" (printf "stocktake.%s.events" .repository) (.root.Values.settings.repositories | default dict) -}}
{{- $topics := list -}}
{{- range (kindIs "slice" $given | ternary $given (splitList "," (toString $given))) -}}
{{- $topics = append $topics (trim .) -}}
{{- end -}}
{{- toJson (without $topics "") -}}
{{- end -}}

{{/* Whether the enricher runs: "true" or nothing. */}}
{{- define "stocktake.enriches" -}}
{{- $archives := include "stocktake.archives" . | fromJsonArray -}}
{{- if kindIs "bool" .Values.enricher.enabled | ternary .Values.enricher.enabled (not (empty $archives)) -}}
true
{{- end -}}
{{- end -}}

{{/* Whether something else than the chart says how many consumer pods there are: "true" or nothing. */}}
{{- define "stocktake.autoscales" -}}
{{- if ne .Values.autoscaling.kind "none" -}}
true
{{- end -}}
{{- end -}}

{{/* The most consumer pods that there can be. */}}
{{- define "stocktake.mostConsumers" -}}
{{- eq (include "stocktake.autoscales" .) "true" | ternary .Values.autoscaling.maxReplicas .Values.consumer.replicas | int64 -}}
{{- end -}}

{{- define "stocktake.consumerKind" -}}
{{- .Values.consumer.staticMembership | ternary "StatefulSet" "Deployment" -}}
{{- end -}}

{{/* A setting as the text of a variable. Helm reads 1000000 as a float, which would be printed as 1e+06. */}}
{{- define "stocktake.settingText" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* The milliseconds of a duration such as "500ms", "30s", "5m", "2h", "1d" or "30". The schema holds what it can be. */}}
{{- define "stocktake.milliseconds" -}}
{{- $unit := regexFind "(ms|s|m|h|d)$" . | default "s" -}}
{{- $milliseconds := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) $unit -}}
{{- mulf (regexFind "^[0-9]+([.][0-9]+)?" . | float64) $milliseconds | ceil | int64 -}}
{{- end -}}

{{/* The address that the HTTP service listens on, and its port. */}}
{{- define "stocktake.listen" -}}
{{- dig "http" "listen" "0.0.0.0:8080" .Values.settings -}}
{{- end -}}

{{- define "stocktake.listenPort" -}}
{{- include "stocktake.listen" . | splitList ":" | last | int64 -}}
{{- end -}}

{{/* Whether the HTTP service speaks TLS: "true" or nothing. */}}
{{- define "stocktake.servesTls" -}}
{{- if or .Values.service.tlsSecret (dig "http" "tls_cert_file" "" .Values.settings) -}}
true
{{- end -}}
{{- end -}}
