{{- define "manager.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What every object's name begins with. 38 characters leave room for what follows. */}}
{{- define "manager.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 38 | trimSuffix "-" }}
{{- else if contains (include "manager.name" .) .Release.Name }}{{ .Release.Name | trunc 38 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (include "manager.name" .) | trunc 38 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "manager.labels" -}}
app.kubernetes.io/name: {{ include "manager.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes the root context and the process's name. */}}
{{- define "manager.selector" -}}
app.kubernetes.io/name: {{ include "manager.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .process }}
{{- end }}

{{- define "manager.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Of what makes one installation different from another. */}}
{{- define "manager.version" -}}
{{- list .Chart.Version (include "manager.image" .) .Values.settings .Values.extraEnv .Values.operand | toJson | sha256sum | trunc 12 }}
{{- end }}

{{- define "manager.environment" -}}
- name: TEMPORAL_ADDRESS
  value: {{ .Values.temporal.address | quote }}
- name: TEMPORAL_NAMESPACE
  value: {{ .Values.temporal.namespace | quote }}
{{- with .Values.temporal.tls }}
{{- if .enabled }}
- name: TEMPORAL_TLS
  value: "true"
{{- with .serverName }}
- name: TEMPORAL_TLS_SERVER_NAME
  value: {{ . | quote }}
{{- end }}
{{- if .secret }}
- name: TEMPORAL_TLS_CLIENT_CERT_PATH
  value: /etc/temporal-tls/tls.crt
- name: TEMPORAL_TLS_CLIENT_KEY_PATH
  value: /etc/temporal-tls/tls.key
{{- if .serverCa }}
- name: TEMPORAL_TLS_SERVER_CA_CERT_PATH
  value: /etc/temporal-tls/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.payloadKeySecret }}
- name: BTP_PAYLOAD_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: key}
{{- end }}
{{- with .Values.taskQueue }}
- name: BTP_TASK_QUEUE
  value: {{ . | quote }}
{{- end }}
- name: BTP_METRICS_ADDRESS
  value: ":8080"
- name: BTP_HEALTH_ADDRESS
  value: ":8081"
{{- if not (hasKey .Values.settings "BTP_LOG_FORMAT") }}
- name: BTP_LOG_FORMAT
  value: json
{{- end }}
- name: BTP_OPERAND_RBAC
  value: "false"
{{- if .Values.operand }}
- name: BTP_OPERAND_VALUES
  value: /etc/btp-manager/operand-values.yaml
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What every pod of this chart has: takes the root context, the ServiceAccount's process, and the process's name. */}}
{{- define "manager.pod" -}}
{{- $ := .root }}
serviceAccountName: {{ include "manager.fullname" $ }}-{{ .account }}
{{- with $.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 30001
  fsGroup: 30001
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 32Mi}
  {{- if and $.Values.temporal.tls.enabled $.Values.temporal.tls.secret }}
  - name: temporal-tls
    secret:
      secretName: {{ $.Values.temporal.tls.secret }}
      defaultMode: 0440
  {{- end }}
  {{- if and $.Values.temporal.apiKeySecret (ne .account "codecserver") }}
  - name: temporal-api-key
    secret:
      secretName: {{ $.Values.temporal.apiKeySecret }}
      defaultMode: 0440
  {{- end }}
  {{- if $.Values.operand }}
  - name: operand-values
    configMap:
      name: {{ include "manager.fullname" $ }}-operand-values
  {{- end }}
  {{- with $.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container of this chart has: takes the root context, and the process's name. */}}
{{- define "manager.container" -}}
{{- $ := .root }}
image: {{ include "manager.image" $ }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
env:
  {{- include "manager.environment" $ | nindent 2 }}
  {{- if and $.Values.temporal.apiKeySecret (ne .process "codecserver") }}
  - name: BTP_TEMPORAL_API_KEY_FILE # a file, unlike a variable, is renewed in a pod that runs
    value: /etc/temporal-api-key/api-key
  {{- end }}
  {{- if eq .process "codecserver" }}
  - name: BTP_CODEC_ORIGINS
    value: {{ $.Values.codecServer.origins | quote }}
  {{- end }}
  {{- if eq .process "worker" }}
  - name: BTP_INSTALLATION # the same as long as neither version nor settings change
    value: {{ printf "%s/%s-worker/%s" $.Release.Namespace (include "manager.fullname" $) (include "manager.version" $) }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if and $.Values.temporal.tls.enabled $.Values.temporal.tls.secret }}
  - {name: temporal-tls, mountPath: /etc/temporal-tls, readOnly: true}
  {{- end }}
  {{- if and $.Values.temporal.apiKeySecret (ne .process "codecserver") }}
  - {name: temporal-api-key, mountPath: /etc/temporal-api-key, readOnly: true}
  {{- end }}
  {{- if $.Values.operand }}
  - {name: operand-values, mountPath: /etc/btp-manager, readOnly: true}
  {{- end }}
  {{- with $.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
