{{/* The groups of files/alerts.yaml, with the changes that monitoring.prometheusRule.alerts makes to single alerts. */}}
{{- define "stocktake.alertGroups" -}}
{{- $values := .Values.monitoring.prometheusRule -}}
{{- $groups := (.Files.Get "files/alerts.yaml" | fromYaml).groups -}}
{{- $known := list -}}
{{- $changed := list -}}
{{- range $group := $groups -}}
{{- $rules := list -}}
{{- range $rule := $group.rules -}}
{{- $known = append $known ($rule.alert | default "") -}}
{{- $change := get ($values.alerts | default dict) ($rule.alert | default "") | default dict -}}
{{- range $key := list "for" "expr" -}}
{{- with get $change $key -}}
{{- $_ := set $rule $key . -}}
{{- end -}}
{{- end -}}
{{- with $rule.alert -}}
{{- $severity := dict -}}
{{- with $change.severity -}}
{{- $severity = dict "severity" . -}}
{{- end -}}
{{- $_ := set $rule "labels" (merge (dict) $severity ($change.labels | default dict) ($rule.labels | default dict)) -}}
{{- with $rule.annotations.runbook_url -}}
{{- $_ := set $rule.annotations "runbook_url" (print $values.runbookBase .) -}}
{{- end -}}
{{- end -}}
{{- if ne (get $change "enabled" | toString) "false" -}}
{{- $rules = append $rules $rule -}}
{{- end -}}
{{- end -}}
{{- if $rules -}}
{{- $changed = append $changed (merge (dict "rules" $rules) $group) -}}
{{- end -}}
{{- end -}}
{{- range $name, $change := $values.alerts -}}
{{- if not (has $name $known) -}}
{{- fail (printf "monitoring.prometheusRule.alerts.%s: there is no such alert, only %s." $name (without $known "" | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- toYaml $changed -}}
{{- end -}}
