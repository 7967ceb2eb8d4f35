{{- define "harmony-injector.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- /* All names' first part: at most 53 characters, as charts/harmony-agent has it. What is cut has a
part of its digest at the end: two long names that begin alike are not one. */ -}}
{{- define "harmony-injector.fullname" -}}
{{- $name := include "harmony-injector.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- $full = default $full .Values.fullnameOverride }}
{{- if gt (len $full) 53 }}
{{- $full = printf "%s-%s" (trunc 44 $full | trimSuffix "-") (sha256sum $full | trunc 8) }}
{{- end }}
{{- $full }}
{{- end }}

{{- define "harmony-injector.selectorLabels" -}}
app.kubernetes.io/name: {{ include "harmony-injector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "harmony-injector.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "harmony-injector.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: injector
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "harmony-injector.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}

{{- define "harmony-injector.sidecarImage" -}}
{{- $i := .Values.sidecar.image }}
{{- printf "%s:%s" (default .Values.image.repository $i.repository) (default (default .Chart.AppVersion .Values.image.tag) $i.tag) }}
{{- end }}

{{- define "harmony-injector.sidecarMode" -}}
{{- if ne .Values.sidecar.mode "auto" }}
{{- .Values.sidecar.mode }}
{{- else }}
{{- semverCompare ">=1.29.0-0" .Capabilities.KubeVersion.Version | ternary "sidecar" "container" }}
{{- end }}
{{- end }}

{{- /* "true" where a policy refuses opted-in pods that no injector has seen. */ -}}
{{- define "harmony-injector.policed" -}}
{{- and .Values.policy.enabled (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) | ternary "true" "" }}
{{- end }}

{{- /* Where no policy does that, the webhook's own failure has to. */ -}}
{{- define "harmony-injector.failurePolicy" -}}
{{- default (include "harmony-injector.policed" . | empty | ternary "Fail" "Ignore") .Values.webhook.failurePolicy }}
{{- end }}

{{- define "harmony-injector.tlsSecret" -}}
{{- if eq .Values.tls.mode "secret" }}
{{- required "tls.mode is secret: tls.secret.name is needed" .Values.tls.secret.name }}
{{- else }}
{{- printf "%s-%s" (include "harmony-injector.fullname" .) (eq .Values.tls.mode "own" | ternary "ca" "tls") }}
{{- end }}
{{- end }}

{{- /* By which the API server calls it. */ -}}
{{- define "harmony-injector.host" -}}
{{- printf "%s.%s.svc" (include "harmony-injector.fullname" .) .Release.Namespace }}
{{- end }}

{{- /* Of objects that belong to no namespace: never cut, since 253 characters are permitted there. */ -}}
{{- define "harmony-injector.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "harmony-injector.fullname" .) }}
{{- end }}

{{- /* Namespaces that are never injected into, as a YAML list. */ -}}
{{- define "harmony-injector.excluded" -}}
{{- concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.webhook.excludedNamespaces | uniq | toJson }}
{{- end }}

{{- /* A quantity as the program reads it: of a number in a values file Helm makes a float, which it
would print as 1.34217728e+08. */ -}}
{{- define "harmony-injector.quantity" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}
