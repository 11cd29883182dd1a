{{- define "casvault.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "casvault" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-casvault" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- /* What selects pods; never changed, a Deployment's selector can't be. Takes { root, component }. */}}
{{- define "casvault.selector" -}}
app.kubernetes.io/name: casvault
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Takes { root, component }. */}}
{{- define "casvault.labels" -}}
{{ include "casvault.selector" . }}
app.kubernetes.io/part-of: casvault
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "casvault.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else if eq $tag "latest" -}}
{{- fail "image.tag: `latest` is no version; name one, or a digest" -}}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{- /* Names of the secrets, given by values or made for a trial. */}}
{{- define "casvault.trialSecret" -}}{{ include "casvault.fullname" . }}-trial{{- end }}
{{- define "casvault.sealingKeySecret" -}}
{{- if .Values.sealingKey.existingSecret -}}{{ .Values.sealingKey.existingSecret }}
{{- else if .Values.trial.enabled -}}{{ include "casvault.trialSecret" . }}
{{- else -}}{{ fail "sealingKey.existingSecret: is not set (or set trial.enabled)" }}
{{- end -}}
{{- end }}
{{- define "casvault.databaseSecret" -}}
{{- if .Values.database.existingSecret -}}{{ .Values.database.existingSecret }}
{{- else if .Values.trial.enabled -}}{{ include "casvault.trialSecret" . }}
{{- else -}}{{ fail "database.existingSecret: is not set (or set trial.enabled)" }}
{{- end -}}
{{- end }}
{{- /* Secret whose key `url` is the URL of NATS; empty: nats.url is it. */}}
{{- define "casvault.natsSecret" -}}
{{- if and .Values.nats.url .Values.nats.existingSecret -}}{{ fail "nats: set either url or existingSecret, not both" }}
{{- else if .Values.nats.existingSecret -}}{{ .Values.nats.existingSecret }}
{{- else if .Values.nats.url -}}
{{- else if .Values.trial.enabled -}}{{ include "casvault.trialSecret" . }}
{{- else -}}{{ fail "nats.url: is not set, nor nats.existingSecret (or set trial.enabled)" }}
{{- end -}}
{{- end }}
{{- /* "true" where the release brings its own. */}}
{{- define "casvault.ownPostgres" -}}{{ if and .Values.trial.enabled (not .Values.database.existingSecret) }}true{{ end }}{{- end }}
{{- define "casvault.ownNats" -}}{{ if and .Values.trial.enabled (not .Values.nats.url) (not .Values.nats.existingSecret) }}true{{ end }}{{- end }}
{{- define "casvault.ownSealingKey" -}}{{ if and .Values.trial.enabled (not .Values.sealingKey.existingSecret) }}true{{ end }}{{- end }}

{{- /* The control plane, in the order of a reading; a service's values are under its name in camel case. */}}
{{- define "casvault.controlPlane" -}}
- { name: gateway, values: gateway, service: gateway, database: '' }
- { name: licensing-auth, values: licensingAuth, service: licensing-auth, database: licensing-auth }
- { name: inventory, values: inventory, service: inventory, database: inventory }
- { name: scheduler, values: scheduler, service: scheduler, database: scheduler }
- { name: snapshot-engine, values: snapshotEngine, service: snapshot-engine, database: snapshot-engine }
- { name: data-mover-controller, values: dataMoverController, service: data-mover, database: data-mover }
{{- end }}

{{- /* JSON of the groups whose number the controller sets: CASVAULT_DATA_MOVER_SCALER. Takes the root. */}}
{{- define "casvault.scaledGroups" -}}
{{- $root := . -}}
{{- $scaled := list -}}
{{- range $group, $_ := .Values.dataMovers.groups }}
{{- $own := include "casvault.moverGroup" (dict "root" $root "group" $group) | fromYaml }}
{{- $builtin := $own.autoscaling.builtin }}
{{- if $builtin.enabled }}
{{- $at := printf "dataMovers.groups.%s.autoscaling" $group }}
{{- if $own.autoscaling.keda.enabled }}{{ fail (printf "%s: builtin and keda are both enabled" $at) }}{{ end }}
{{- if gt (int $builtin.minReplicas) (int $builtin.maxReplicas) }}{{ fail (printf "%s.builtin.minReplicas: is larger than maxReplicas" $at) }}{{ end }}
{{- $deployment := printf "%s-data-mover-%s" (include "casvault.fullname" $root) $group }}
{{- $scaled = append $scaled (dict "group" $group "deployment" $deployment "min" (int $builtin.minReplicas) "max" (int $builtin.maxReplicas) "transfers" (int $own.transfers) "cooldownSeconds" (int $builtin.cooldownSeconds)) }}
{{- end }}
{{- end }}
{{- toJson $scaled -}}
{{- end }}
{{- define "casvault.scalerLease" -}}{{ include "casvault.fullname" . }}-scaler{{- end }}

{{- /* Settings of one group of movers: its own over the defaults. Takes { root, group }. */}}
{{- define "casvault.moverGroup" -}}
{{- $own := index .root.Values.dataMovers.groups .group | default dict -}}
{{- mergeOverwrite (deepCopy .root.Values.dataMovers.defaults) $own | toYaml -}}
{{- end }}
