{{- /* Pod-wide security: the `restricted` Pod Security Standard. */}}
{{- define "casvault.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.pods.runAsUser }}
runAsGroup: {{ .Values.pods.runAsGroup }}
fsGroup: {{ .Values.pods.fsGroup }}
# A pool of terabytes is not gone through at every start.
fsGroupChangePolicy: OnRootMismatch
{{- with .Values.pods.supplementalGroups }}
supplementalGroups: {{ toJson . }}
{{- end }}
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- /* What Node is told: with a heap of three tenths of the memory limit a service stays well below it. Takes the resources. */}}
{{- define "casvault.nodeOptions" -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $limit := toString .limits.memory -}}
{{- $unit := regexFind "[A-Za-z]*$" $limit -}}
{{- $bytes := mulf (trimSuffix $unit $limit | float64) (get $units $unit | float64) -}}
--max-semi-space-size=4 --max-old-space-size={{ divf (mulf $bytes 0.3) 1048576 | floor | int }}
{{- end }}

{{- define "casvault.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
{{- end }}

{{- /* Takes { root, component }. Spread is wished, not demanded: a lost zone must not keep pods from starting. */}}
{{- define "casvault.spread" -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  matchLabelKeys: [pod-template-hash]
  labelSelector:
    matchLabels:
      {{- include "casvault.selector" $ | nindent 6 }}
{{- end }}
{{- end }}

{{- /* Health is served before NATS and Postgres are there: live means that the process answers, ready that it may work. */}}
{{- define "casvault.probes" -}}
startupProbe:
  httpGet: { path: /health/live, port: health }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /health/live, port: health }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
# Its checks take up to 2 s each.
readinessProbe:
  httpGet: { path: /health/ready, port: health }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{- /* Environment of every service. Takes { root, database }. Secrets are files: they show in no description of the pod. */}}
{{- define "casvault.commonEnv" -}}
{{- $values := .root.Values -}}
- { name: CASVAULT_HTTP_ADDRESS, value: 0.0.0.0 }
- { name: CASVAULT_HTTP_PORT, value: '9090' }
- { name: CASVAULT_LOG_LEVEL, value: {{ $values.logLevel }} }
- { name: CASVAULT_DRAIN_SECONDS, value: {{ $values.drainSeconds | quote }} }
- { name: CASVAULT_SEALING_KEY_FILE, value: /run/secrets/casvault/sealing-key }
{{- if include "casvault.natsSecret" .root }}
- { name: CASVAULT_NATS_URL_FILE, value: /run/secrets/casvault/nats-url }
{{- else }}
- { name: CASVAULT_NATS_URL, value: {{ $values.nats.url | quote }} }
{{- end }}
- { name: CASVAULT_NATS_REPLICAS, value: {{ $values.nats.replicas | quote }} }
{{- if $values.nats.credentialsSecret }}
- { name: CASVAULT_NATS_CREDENTIALS_FILE, value: /run/secrets/casvault/nats.creds }
{{- end }}
{{- if $values.nats.caSecret }}
- { name: CASVAULT_NATS_CA_FILE, value: /run/secrets/casvault/nats-ca.crt }
{{- end }}
{{- if .database }}
- { name: CASVAULT_DATABASE_URL_FILE, value: /run/secrets/casvault/database-url }
{{- end }}
{{- if $values.tracing.endpoint }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ $values.tracing.endpoint | quote }} }
{{- end }}
{{- end }}

{{- /* The secrets of one service as one read-only volume. Takes { root, user, database }; user is the name before .creds. */}}
{{- define "casvault.secretSources" -}}
{{- $values := .root.Values -}}
- secret:
    name: {{ include "casvault.sealingKeySecret" .root }}
    items: [{ key: {{ $values.sealingKey.key }}, path: sealing-key }]
{{- with include "casvault.natsSecret" .root }}
- secret:
    name: {{ . }}
    items: [{ key: {{ if include "casvault.ownNats" $.root }}nats-url{{ else }}url{{ end }}, path: nats-url }]
{{- end }}
{{- with $values.nats.credentialsSecret }}
- secret:
    name: {{ . }}
    items: [{ key: {{ $.user }}.creds, path: nats.creds }]
{{- end }}
{{- with $values.nats.caSecret }}
- secret:
    name: {{ . }}
    items: [{ key: ca.crt, path: nats-ca.crt }]
{{- end }}
{{- if .database }}
- secret:
    name: {{ include "casvault.databaseSecret" .root }}
    items: [{ key: {{ .database }}, path: database-url }]
{{- end }}
{{- end }}

{{- /* What a pod of any service has. Takes { root, component, account }. */}}
{{- define "casvault.podCommon" -}}
serviceAccountName: {{ include "casvault.fullname" .root }}-{{ .account }}
# Only the built-in scaler speaks to the Kubernetes API, with a token that is mounted for it alone.
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .root.Values.drainSeconds 15 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "casvault.podSecurity" .root | nindent 2 }}
topologySpreadConstraints:
  {{- include "casvault.spread" . | trim | nindent 2 }}
{{- end }}

{{- /* Takes the root. */}}
{{- define "casvault.podAnnotations" -}}
{{- with .Values.pods.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* Takes { pools, values }: names of pools or null for all, and the values of the chart. Fails for a name that is no pool. */}}
{{- define "casvault.usedPools" -}}
{{- $names := list -}}
{{- range .values.pools }}{{ $names = append $names .name }}{{ end -}}
{{- range .pools }}
{{- if not (has . $names) }}{{ fail (printf "dataMovers: pools: %s is not one of pools" .) }}{{ end }}
{{- end }}
{{- $wanted := ternary $names .pools (kindIs "invalid" .pools) -}}
{{- $used := list -}}
{{- range .values.pools }}{{ if has .name $wanted }}{{ $used = append $used . }}{{ end }}{{ end -}}
{{- toYaml $used -}}
{{- end }}
{{- define "casvault.poolMounts" -}}
{{- range . }}
- name: pool-{{ .name }}
  mountPath: {{ .mountPath }}
{{- end }}
{{- end }}
{{- define "casvault.poolVolumes" -}}
{{- range . }}
- name: pool-{{ .name }}
  {{- toYaml .volume | nindent 2 }}
{{- end }}
{{- end }}
