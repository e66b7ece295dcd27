{{/* Prints nothing; refuses archives and bridges that the program would refuse, or overlook, once it runs. */}}
{{- define "stocktake.checkArchives" -}}
{{- $archives := include "stocktake.archives" . | fromJsonArray -}}
{{- $repositories := include "stocktake.repositories" . | fromJsonArray -}}
{{- range $name := $archives -}}
{{- if not (has $name $repositories) -}}
{{- fail (printf "settings.archives.%s is of no use: there is no repository %s, only %s. An archive has the name of its repository." $name $name (join ", " $repositories)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $references := .Values.secrets.archives -}}
{{- if not (has $name $archives) -}}
{{- fail (printf "secrets.archives.%s is of no use: settings.archives.%s is missing." $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and (include "stocktake.enriches" .) (empty $archives) -}}
{{- fail "enricher.enabled is true, but settings.archives names no archive that the enricher could ask." -}}
{{- end -}}
{{- $bridged := dict -}}
{{- range $name, $bridge := .Values.bridges -}}
{{- $repository := $bridge.repository -}}
{{- if not (has $repository $archives) -}}
{{- fail (printf "bridges.%s needs settings.archives.%s: where is the archive of the repository %s to be asked?" $name $repository $repository) -}}
{{- end -}}
{{- $kind := dig $repository "kind" "dicomweb" ($.Values.settings.archives | default dict) -}}
{{- if and (eq $bridge.kind "orthanc") (ne $kind "orthanc") -}}
{{- fail (printf "bridges.%s is of kind orthanc, but settings.archives.%s.kind is %s; let that be orthanc too." $name $repository $kind) -}}
{{- end -}}
{{- with get $bridged $repository -}}
{{- fail (printf "bridges.%s and bridges.%s are of the same repository %s; it has one bridge." . $name $repository) -}}
{{- end -}}
{{- $_ := set $bridged $repository $name -}}
{{- end -}}
{{- end -}}
