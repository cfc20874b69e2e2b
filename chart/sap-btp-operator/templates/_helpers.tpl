{{/* Labels of every object. The manager adds app.kubernetes.io/managed-by itself. */}}
{{- define "operand.labels" -}}
app.kubernetes.io/name: sap-btp-operator
app.kubernetes.io/instance: sap-btp-operator
chart-version: {{ .Chart.AppVersion | quote }}
kyma-project.io/module: btp-operator
{{- end }}

{{/* What Services and the Deployment select pods by. Immutable in a Deployment. */}}
{{- define "operand.selector" -}}
app.kubernetes.io/name: sap-btp-operator
app.kubernetes.io/instance: sap-btp-operator
control-plane: controller-manager
{{- end }}

{{- define "operand.managementNamespace" -}}
{{- .Values.manager.management_namespace | default .Release.Namespace }}
{{- end }}

{{- define "operand.image" -}}
{{- $image := .Values.manager.image }}
{{- if $image.reference }}{{ $image.reference }}
{{- else if $image.sha }}{{ $image.repository }}@sha256:{{ $image.sha }}
{{- else }}{{ $image.repository }}:{{ $image.tag }}
{{- end }}
{{- end }}

{{/* One webhook's client configuration and the fields that all four share. Takes the root context and a path. */}}
{{- define "operand.webhook" -}}
admissionReviewVersions: [v1beta1, v1]
clientConfig:
  {{- with .root.Values.manager.webhook.caBundle }}
  caBundle: {{ . | quote }}
  {{- end }}
  service:
    name: sap-btp-operator-webhook-service
    namespace: {{ .root.Release.Namespace }}
    path: {{ .path }}
    port: 443
failurePolicy: Fail
sideEffects: None
{{- end }}
