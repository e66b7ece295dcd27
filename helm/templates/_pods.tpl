{{/* The metadata of the pods of one `.component`. */}}
{{- define "stocktake.podMetadata" -}}
labels:
  {{- include "stocktake.componentSelector" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # Variables are read once at start, so changed settings must replace the pods.
  checksum/settings: {{ include (print .root.Template.BasePath "/settings-configmap.yaml") .root | sha256sum }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What the pods of one `.component` share with all others, without containers and volumes. */}}
{{- define "stocktake.podSpec" -}}
{{- $root := .root -}}
{{- $selector := include "stocktake.componentSelector" . -}}
serviceAccountName: {{ include "stocktake.serviceAccountName" $root }}
automountServiceAccountToken: false
# A Service called "stocktake" would put STOCKTAKE_SERVICE_HOST, STOCKTAKE_PORT and more into every container of the
# namespace. The program refuses STOCKTAKE_* variables that are not settings, so it would not start.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ int64 $root.Values.terminationGracePeriodSeconds }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # An inventory folder grows to many files; changing the group of each at every start would take long.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml . | nindent 4 }}
    # The pods of each role are spread by themselves.
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/*
One container: `.name` and its `.args`. What it may also have:
  role         whose health the probes ask for, every `.period` seconds; without it there are none
  repository   whose health that is; without it, of all
  archive      the repository whose archive's secrets it gets
  sinks        whether it gets the sinks' secrets
  inventories  "write" or "read": how it mounts the inventory volume
  env, mounts  more variables and mounts, as YAML
  ports        ports, as YAML
  linger       seconds that it goes on after its pod was told to end, before it is told itself
  resources    requests and limits
*/}}
{{- define "stocktake.container" -}}
{{- $root := .root -}}
- name: {{ .name | quote }}
  image: {{ printf "%s:%s" $root.Values.image.repository ($root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  command: ["stocktake"]
  args: {{ toJson .args }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: ["ALL"]
  envFrom:
    - configMapRef:
        name: {{ include "stocktake.fullname" $root }}-settings
  env:
    # A folder named like one of our packages in the working directory must not be imported in its place.
    - name: PYTHONSAFEPATH
      value: "1"
    {{- range $group, $references := omit $root.Values.secrets "archives" "sinks" }}
    {{- range $key, $reference := $references }}
    {{- include "stocktake.secretVariable" (dict "path" (list $group $key) "reference" $reference) | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- $members := dict -}}
    {{- with .archive }}
    {{- $_ := set $members "archives" (pick ($root.Values.secrets.archives | default dict) .) }}
    {{- end }}
    {{- if .sinks }}
    {{- $_ := set $members "sinks" $root.Values.secrets.sinks }}
    {{- end }}
    {{- range $group, $named := $members }}
    {{- range $name, $references := $named }}
    {{- range $key, $reference := $references }}
    {{- include "stocktake.secretVariable" (dict "path" (list $group $name $key) "reference" $reference) | nindent 4 }}
    {{- end }}
    {{- end }}
    {{- end }}
    {{- with .env }}
    {{- trim . | nindent 4 }}
    {{- end }}
  {{- with .ports }}
  ports:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if .linger }}
  lifecycle:
    preStop:
      # The image's sleep: Kubernetes has one of its own since 1.30 only.
      exec:
        command: ["sleep", {{ .linger | quote }}]
  {{- end }}
  {{- if and .role $root.Values.settings.health.file }}
  # A question takes a fraction of a second, and many seconds where the container's share of the processor is used up or
  # the node is busy. That is no reason to start a container again, so these two wait long for the answer. It may take
  # longer than the period: the next question comes when this one is answered or given up.
  # The first one asks more often, until the first answer that all is well; connecting to the servers may take a minute.
  startupProbe:
    {{- include "stocktake.probe" (merge (dict "period" 5 "failures" 60 "timeout" 30) .) | nindent 4 }}
  livenessProbe:
    {{- include "stocktake.probe" (merge (dict "failures" 3 "timeout" 30) .) | nindent 4 }}
  readinessProbe:
    {{- include "stocktake.probe" (merge (dict "failures" 1 "timeout" 10 "ready" true) .) | nindent 4 }}
  {{- end }}
  {{- with .resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: tmp
      mountPath: /tmp
    {{- range $number, $files := $root.Values.secretFiles }}
    - name: secret-files-{{ $number }}
      mountPath: {{ $files.path | quote }}
      readOnly: true
    {{- end }}
    {{- with .mounts }}
    {{- trim . | nindent 4 }}
    {{- end }}
    {{- with .inventories }}
    - name: inventories
      mountPath: {{ $root.Values.settings.inventory.dir | quote }}
      {{- if eq . "read" }}
      readOnly: true
      {{- end }}
    {{- end }}
{{- end -}}

{{/* A variable whose value is in a Secret: the `.path` of the setting, and the `.reference`. */}}
{{- define "stocktake.secretVariable" -}}
- name: STOCKTAKE_{{ join "__" .path | upper }}
  valueFrom:
    secretKeyRef:
      name: {{ .reference.name | quote }}
      key: {{ .reference.key | quote }}
{{- end -}}

{{/* A probe asks the program, which looks at the files by which its roles leave word of their health. */}}
{{- define "stocktake.probe" -}}
{{- $command := list "stocktake" "health" "--role" .role -}}
{{- with .repository -}}
{{- $command = concat $command (list "--repository" .) -}}
{{- end -}}
{{- if .ready -}}
{{- $command = append $command "--ready" -}}
{{- end -}}
exec:
  command: {{ toJson $command }}
periodSeconds: {{ int64 .period }}
timeoutSeconds: {{ .timeout }}
failureThreshold: {{ .failures }}
{{- end -}}

{{/* The volumes of a pod; `.inventories` if it mounts that volume, and `.more` as YAML. */}}
{{- define "stocktake.volumes" -}}
{{- $root := .root -}}
- name: tmp
  emptyDir: {{ empty $root.Values.tmpSizeLimit | ternary dict (dict "sizeLimit" (toString $root.Values.tmpSizeLimit)) | toJson }}
{{- range $number, $files := $root.Values.secretFiles }}
- name: secret-files-{{ $number }}
  secret:
    secretName: {{ $files.name | quote }}
    # The files belong to root and the group of the pod, and nobody else reads them.
    defaultMode: 0440
{{- end }}
{{- with .more }}
{{ trim . }}
{{- end }}
{{- with .inventories }}
- name: inventories
  persistentVolumeClaim:
    claimName: {{ include "stocktake.claimName" $root | quote }}
{{- end }}
{{- end -}}
