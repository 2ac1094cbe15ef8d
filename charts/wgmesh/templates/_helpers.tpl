{{- define "wgmesh.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "wgmesh.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := include "wgmesh.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Agents' service accounts are wgmesh-<mesh>, and a mesh's name has no dash: these two never match. */}}
{{- define "wgmesh.operatorAccount" -}}
{{ include "wgmesh.fullname" . }}-operator-account
{{- end }}
{{- define "wgmesh.uninstallAccount" -}}
{{ include "wgmesh.fullname" . }}-uninstall-account
{{- end }}
{{- define "wgmesh.testAccount" -}}
{{ include "wgmesh.fullname" . }}-test-account
{{- end }}

{{- define "wgmesh.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The labels of one component: dict "context" $ "component" "operator". */}}
{{- define "wgmesh.selectorLabels" -}}
app.kubernetes.io/name: {{ include "wgmesh.name" .context }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}
{{- define "wgmesh.labels" -}}
{{ include "wgmesh.selectorLabels" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" }}
{{- with .context.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata without name: dict "context" $ "component" … "annotations" (dict …). */}}
{{- define "wgmesh.metadata" -}}
labels:
  {{- include "wgmesh.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .context.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Security context of every pod of the chart: an unprivileged user without capabilities. */}}
{{- define "wgmesh.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}
{{- define "wgmesh.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Matches the user names of agents: one service account per mesh, in the release's namespace. */}}
{{- define "wgmesh.agentUserPrefix" -}}
system:serviceaccount:{{ .Release.Namespace }}:wgmesh-
{{- end }}
