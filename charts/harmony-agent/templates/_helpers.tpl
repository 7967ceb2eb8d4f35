{{- define "harmony-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- /* All names' first part: at most 53 characters, so that with the longest suffix, -dashboard, they
are labels of DNS as Services take them. What is cut has a part of its digest at the end: two long
names that begin alike are not one. */ -}}
{{- define "harmony-agent.fullname" -}}
{{- $name := include "harmony-agent.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- $full = default $full .Values.fullnameOverride }}
{{- if gt (len $full) 53 }}
{{- $full = printf "%s-%s" (trunc 44 $full | trimSuffix "-") (sha256sum $full | trunc 8) }}
{{- end }}
{{- $full }}
{{- end }}

{{- /* Of objects that belong to no namespace: never cut, since 253 characters are permitted there. */ -}}
{{- define "harmony-agent.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "harmony-agent.fullname" .) }}
{{- end }}

{{- define "harmony-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "harmony-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "harmony-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "harmony-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: agent
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "harmony-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "harmony-agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "harmony-agent.configMapName" -}}
{{- default (printf "%s-config" (include "harmony-agent.fullname" .)) .Values.existingConfigMap }}
{{- end }}

{{- define "harmony-agent.nodesName" -}}
{{- printf "%s-nodes" (include "harmony-agent.fullname" .) }}
{{- end }}

{{- define "harmony-agent.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- /* Of the hooks of `helm uninstall` (forget.yaml): nobody's selector but their own. */ -}}
{{- define "harmony-agent.forgetSelectorLabels" -}}
app.kubernetes.io/name: {{ include "harmony-agent.name" . }}-forget
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "harmony-agent.forgetLabels" -}}
{{ include "harmony-agent.forgetSelectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "harmony-agent.forgetHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{- define "harmony-agent.forgetResources" -}}
requests: {cpu: 10m, memory: 16Mi}
limits: {memory: 64Mi}
{{- end }}
