{{/* How fast the number of consumers may change. */}}
{{- define "stocktake.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: {{ int64 .Values.autoscaling.scaleUpStabilizationSeconds }}
scaleDown:
  stabilizationWindowSeconds: {{ int64 .Values.autoscaling.scaleDownStabilizationSeconds }}
  # One pod a minute, so that the partitions of one have moved before the next leaves.
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end -}}
