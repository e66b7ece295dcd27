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

{{/* The names of the repositories as a JSON list. Without any the program follows one called "main". */}}
{{- define "stocktake.repositories" -}}
{{- .Values.settings.repositories | default (dict "main" dict) | keys | sortAlpha | toJson -}}
{{- end -}}

{{/* The names of the archives that are asked, as a JSON list; each is that of its repository. */}}
{{- define "stocktake.archives" -}}
{{- .Values.settings.archives | default dict | keys | sortAlpha | toJson -}}
{{- end -}}

{{/* Whether the enricher runs: "true" or nothing. */}}
{{- define "stocktake.enriches" -}}
{{- $archives := include "stocktake.archives" . | fromJsonArray -}}
{{- if kindIs "bool" .Values.enricher.enabled | ternary .Values.enricher.enabled (not (empty $archives)) -}}
true
{{- end -}}
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

{{/* What the pods of all roles share, without containers and volumes. */}}
{{- define "stocktake.podSpec" -}}
serviceAccountName: {{ include "stocktake.serviceAccountName" . }}
automountServiceAccountToken: false
# A Service called "stocktake" would put STOCKTAKE_SERVICE_HOST, STOCKTAKE_PORT and more into every container of the
# namespace. The program refuses STOCKTAKE_* variables that are not settings, so it would not start.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # An inventory folder grows to many files; changing the group of each at every start would take long.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What the containers of all roles share, without name, arguments, resources and mounts. */}}
{{- define "stocktake.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: ["stocktake"]
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
envFrom:
  - configMapRef:
      name: {{ include "stocktake.fullname" . }}-settings
env:
  # A folder named like one of our packages in the working directory must not be imported in its place.
  - name: PYTHONSAFEPATH
    value: "1"
  {{- range $group, $references := omit .Values.secrets "archives" "sinks" }}
  {{- range $key, $reference := $references }}
  - name: STOCKTAKE_{{ upper $group }}__{{ upper $key }}
    valueFrom:
      secretKeyRef:
        name: {{ $reference.name | quote }}
        key: {{ $reference.key | quote }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* The variables of the secrets of `members` of a group whose members have names: only who uses them gets them. */}}
{{- define "stocktake.memberSecrets" -}}
{{- range $name, $references := .members }}
{{- range $key, $reference := $references }}
- name: STOCKTAKE_{{ upper $.group }}__{{ upper $name }}__{{ upper $key }}
  valueFrom:
    secretKeyRef:
      name: {{ $reference.name | quote }}
      key: {{ $reference.key | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The secrets of the archive of one repository. */}}
{{- define "stocktake.archiveSecrets" -}}
{{- $members := pick (.root.Values.secrets.archives | default dict) .repository -}}
{{- include "stocktake.memberSecrets" (dict "group" "archives" "members" $members) -}}
{{- end -}}

{{/* A probe of one repository's consumers: they are asked through the health files that they write. */}}
{{- define "stocktake.probe" -}}
exec:
  command: ["stocktake", "health", {{ with .option }}{{ . | quote }}, {{ end }}"--repository", {{ .repository | quote }}]
periodSeconds: {{ .period | default .root.Values.consumer.probePeriodSeconds | int64 }}
timeoutSeconds: 10
failureThreshold: {{ .failures }}
{{- end -}}

{{/* The mounts and the volumes of `secretFiles`; nothing without any. */}}
{{- define "stocktake.secretMounts" -}}
{{- range $number, $files := .Values.secretFiles }}
- name: secret-files-{{ $number }}
  mountPath: {{ $files.path | quote }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "stocktake.secretVolumes" -}}
{{- range $number, $files := .Values.secretFiles }}
- name: secret-files-{{ $number }}
  secret:
    secretName: {{ $files.name | quote }}
{{- end }}
{{- end -}}
