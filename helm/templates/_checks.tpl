{{/* Prints nothing; refuses values that do not fit each other, which the program would refuse or overlook when it runs. */}}
{{- define "stocktake.checks" -}}
{{- include "stocktake.checkArchives" . -}}
{{- include "stocktake.checkConsumer" . -}}
{{- include "stocktake.checkVolume" . -}}
{{- include "stocktake.checkService" . -}}
{{- include "stocktake.checkMonitoring" . -}}
{{- include "stocktake.checkNetwork" . -}}
{{- include "stocktake.checkGracePeriod" . -}}
{{- end -}}

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

{{- define "stocktake.checkConsumer" -}}
{{- $consumer := .Values.consumer -}}
{{- $scaling := .Values.autoscaling -}}
{{- $value := eq (include "stocktake.autoscales" .) "true" | ternary "autoscaling.maxReplicas" "consumer.replicas" -}}
{{- $pods := include "stocktake.mostConsumers" . | int64 -}}
{{- $workers := mul $pods $consumer.workers -}}
{{- if and $consumer.partitions (gt $workers (int64 $consumer.partitions)) -}}
{{- fail (printf "%s %d times consumer.workers %d are %d readers, but consumer.partitions is %d, and a partition has one reader: %d would be idle. Lower one of them, or give the topics more partitions (docs/operations.md says what that costs)." $value $pods (int64 $consumer.workers) $workers (int64 $consumer.partitions) (sub $workers $consumer.partitions)) -}}
{{- end -}}
{{- $instance := dig "kafka" "instance_id" "" .Values.settings -}}
{{- if and $instance $consumer.staticMembership -}}
{{- fail "settings.kafka.instance_id cannot be given with consumer.staticMembership, which gives each pod its own." -}}
{{- end -}}
{{- if and $instance (gt $pods 1) -}}
{{- fail (printf "settings.kafka.instance_id is one name for %d pods, each of which would put the other out of its group. Set consumer.staticMembership instead." $pods) -}}
{{- end -}}
{{- if and $instance (ne (toString $consumer.maxSurge) "0") -}}
{{- fail "settings.kafka.instance_id is one name, and consumer.maxSurge lets a new pod start beside the old one, which would put it out of its group. Set consumer.maxSurge 0 and consumer.maxUnavailable 1, or consumer.staticMembership." -}}
{{- end -}}
{{- if and (eq (toString $consumer.maxSurge) "0") (eq (toString $consumer.maxUnavailable) "0") -}}
{{- fail "consumer.maxSurge and consumer.maxUnavailable are both 0: no pod could ever be replaced." -}}
{{- end -}}
{{- if include "stocktake.autoscales" . -}}
{{- if gt (int64 $scaling.minReplicas) (int64 $scaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas %d is more than autoscaling.maxReplicas %d." (int64 $scaling.minReplicas) (int64 $scaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $scaling.kind "hpa") (not (dig "requests" "cpu" "" $consumer.resources)) -}}
{{- fail "autoscaling.kind is hpa, which measures against consumer.resources.requests.cpu; set that." -}}
{{- end -}}
{{- if eq $scaling.kind "keda" -}}
{{- if not (dig "kafka" "bootstrap_servers" "" .Values.settings) -}}
{{- fail "autoscaling.kind is keda, which asks Kafka for the lag; set settings.kafka.bootstrap_servers." -}}
{{- end -}}
{{- $protocol := dig "kafka" "security_protocol" "PLAINTEXT" .Values.settings -}}
{{- if and (ne $protocol "PLAINTEXT") (not $scaling.keda.authentication.name) -}}
{{- fail (printf "autoscaling.kind is keda and settings.kafka.security_protocol is %s, so KEDA too has to say who it is; set autoscaling.keda.authentication.name." $protocol) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stocktake.checkVolume" -}}
{{- if not (include "stocktake.volumeShared" .) -}}
{{- $modes := join ", " .Values.inventories.accessModes -}}
{{- $ways := "Give inventories.accessModes [ReadWriteMany] and a storage class, or a claim in inventories.existingClaim, that can do that" -}}
{{- if gt (int64 .Values.writer.replicas) 1 -}}
{{- fail (printf "writer.replicas is %d, but inventories.accessModes is [%s]: pods on several nodes could not mount the volume. %s, or set writer.replicas 1." (int64 .Values.writer.replicas) $modes $ways) -}}
{{- end -}}
{{- if and .Values.service.enabled .Values.service.mountInventories -}}
{{- fail (printf "service.mountInventories is true, but inventories.accessModes is [%s]: the service could not mount the volume beside the writer. %s, or set service.mountInventories false; the service then has no lists and no files of inventories." $modes $ways) -}}
{{- end -}}
{{- if .Values.verification.enabled -}}
{{- fail (printf "verification.enabled is true, but inventories.accessModes is [%s]: the volume could not be mounted beside the writer. %s." $modes $ways) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stocktake.checkService" -}}
{{- $service := .Values.service -}}
{{- $http := .Values.settings.http | default dict -}}
{{- if $service.enabled -}}
{{- if not (or $service.tokensSecret $http.tokens_file) -}}
{{- fail "service.enabled is true, but there are no tokens, without which the program does not listen beyond loopback. Put the file that `stocktake token --add` makes into a Secret, and name it in service.tokensSecret." -}}
{{- end -}}
{{- if and $service.tokensSecret $http.tokens_file -}}
{{- fail "service.tokensSecret and settings.http.tokens_file say two things; give one." -}}
{{- end -}}
{{- if and $service.tlsSecret (or $http.tls_cert_file $http.tls_key_file) -}}
{{- fail "service.tlsSecret and settings.http.tls_* say two things; give one." -}}
{{- end -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\]:)" (include "stocktake.listen" .) -}}
{{- fail (printf "settings.http.listen is %s, where nothing outside the pod would reach the service. Leave it out, or give 0.0.0.0 or [::]." $http.listen) -}}
{{- end -}}
{{- else if $service.ingress.enabled -}}
{{- fail "service.ingress.enabled is true, but service.enabled is not: there is nothing to be reached." -}}
{{- end -}}
{{- if $service.ingress.enabled -}}
{{- if not $service.ingress.host -}}
{{- fail "service.ingress.host is missing: under which name is the service reached?" -}}
{{- end -}}
{{- if not (or $service.ingress.tlsSecret $service.ingress.withoutTls) -}}
{{- fail "service.ingress.tlsSecret is missing: whoever sees the network could read tokens and patient data. Set service.ingress.withoutTls if something before the Ingress speaks TLS." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stocktake.checkMonitoring" -}}
{{- $monitor := .Values.monitoring.serviceMonitor -}}
{{- if $monitor.enabled -}}
{{- if not .Values.service.enabled -}}
{{- fail "monitoring.serviceMonitor.enabled is true, but service.enabled is not: the metrics are had from the service." -}}
{{- end -}}
{{- if not $monitor.tokenSecret -}}
{{- fail "monitoring.serviceMonitor.tokenSecret is missing: the service answers nobody without a token, Prometheus neither." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What has a port of its own in its URL is out of reach if the policy has only the usual ones. */}}
{{- define "stocktake.checkNetwork" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if $policy.enabled -}}
{{- $usual := dict "http" "80" "https" "443" "dicom" "104" "dicoms" "104" -}}
{{- range $group := list "archives" "sinks" -}}
{{- range $name, $one := get $.Values.settings $group | default dict -}}
{{- $scheme := splitList ":" $one.url | first | lower -}}
{{- if hasKey $usual $scheme -}}
{{- $host := regexReplaceAll "^[^:]+://([^/?#]*@)?([^/?#]*).*$" $one.url "${2}" -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default (get $usual $scheme) | int64 -}}
{{- $ports := list -}}
{{- range (get $policy $group).ports -}}
{{- $ports = append $ports (int64 .) -}}
{{- end -}}
{{- if not (has $port $ports) -}}
{{- fail (printf "settings.%s.%s.url is at port %d, but networkPolicy.%s.ports is [%s]: it could not be reached. Add %d; and if that is the port of a Service whose pods have another, that one too, since networks differ in which of them they look at." $group $name $port $group (join ", " $ports) $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A pod that is killed before the program has ended in order loses nothing, but what was in hand is done again. */}}
{{- define "stocktake.checkGracePeriod" -}}
{{- $grace := int64 .Values.terminationGracePeriodSeconds -}}
{{- $times := dict "settings.consumer.shutdown_timeout" (dig "consumer" "shutdown_timeout" "20s" .Values.settings) -}}
{{- range $name, $archive := .Values.settings.archives -}}
{{- $_ := set $times (printf "settings.archives.%s.timeout" $name) ($archive.timeout | default "30s") -}}
{{- end -}}
{{- if .Values.service.enabled -}}
{{- /* What is on its way to the caller is waited for, for 5 seconds. */ -}}
{{- $_ := set $times "what a pod of the service takes to end" (include "stocktake.linger" . | int | add 5 | printf "%ds") -}}
{{- end -}}
{{- range $name, $time := $times -}}
{{- $milliseconds := include "stocktake.milliseconds" $time | int64 -}}
{{- if le (mul $grace 1000) $milliseconds -}}
{{- $needed := add (div $milliseconds 1000) 15 -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but %s is %s: pods would be killed before they have ended in order. Set terminationGracePeriodSeconds to %d or more." $grace $name $time $needed) -}}
{{- end -}}
{{- end -}}
{{- end -}}
