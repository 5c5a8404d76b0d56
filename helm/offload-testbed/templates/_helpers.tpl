{{/* Names. At most 40 characters, so that what is appended fits into Kubernetes' 63. */}}
{{- define "offload.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- trunc 40 $name | trimSuffix "-" -}}
{{- end }}

{{- define "offload.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "offload.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "offload.selector" . }}
{{- end }}

{{/* What makes a run: the settings without the live settings. Other ones are another run, and a rollback goes on with the one before. */}}
{{- define "offload.run" -}}
{{- $fixed := omit .Values.settings "scheduler" "log_level" -}}
{{- default (printf "%s-%s" (include "offload.fullname" .) (toJson $fixed | sha256sum | trunc 8)) .Values.run.name -}}
{{- end }}

{{- define "offload.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* The services: the chart's own, somebody else's, or the database in their place. */}}
{{- define "offload.databaseUrl" -}}
{{- $host := ternary (printf "%s-mysql" (include "offload.fullname" .)) .Values.mysql.host .Values.mysql.enabled -}}
{{- $port := ternary 3306 (int .Values.mysql.port) .Values.mysql.enabled -}}
mysql+pymysql://{{ .Values.mysql.user }}@{{ $host }}:{{ $port }}/{{ .Values.mysql.database }}{{ with .Values.mysql.options }}?{{ . }}{{ end }}
{{- end }}

{{- define "offload.databaseSecret" -}}
{{- default (printf "%s-mysql" (include "offload.fullname" .)) .Values.mysql.existingSecret -}}
{{- end }}

{{- define "offload.storageUrl" -}}
{{- if .Values.hdfs.enabled -}} hdfs+http://offload@{{ include "offload.fullname" . }}-namenode:9870/offload
{{- else -}} {{ default "database:" .Values.hdfs.url }}
{{- end -}}
{{- end }}

{{- define "offload.nacosUrl" -}}
{{- if .Values.nacos.enabled -}} nacos://{{ include "offload.fullname" . }}-nacos:8848
{{- else -}} {{ .Values.nacos.url }}
{{- end -}}
{{- end }}

{{/* The experiment, as ConfigMaps hold it. JSON is YAML, and keeps numbers as they are (1000000, not 1e+06). */}}
{{- define "offload.settingsFile" -}}
settings.yaml: |
  {{- toPrettyJson .Values.settings | nindent 2 }}
{{- end }}

{{- define "offload.serviceUrls" -}}
{{- $nacos := include "offload.nacosUrl" . -}}
- {name: OFFLOAD_SERVICES__DATABASE, value: {{ include "offload.databaseUrl" . | quote }}}
- {name: OFFLOAD_SERVICES__STORAGE, value: {{ include "offload.storageUrl" . | quote }}}
- {name: OFFLOAD_SERVICES__REGISTRY, value: {{ default "database:" $nacos | quote }}}
- {name: OFFLOAD_SERVICES__CONFIGURATION, value: {{ default "file:/etc/offload/settings.yaml" $nacos | quote }}}
{{- end }}

{{/* The environment of every pod of ours. */}}
{{- define "offload.environment" -}}
- {name: OFFLOAD_RUN, value: {{ include "offload.run" . | quote }}}
{{ include "offload.serviceUrls" . }}
- name: OFFLOAD_DATABASE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "offload.databaseSecret" . }}, key: password}}
{{- if and .Values.hdfs.existingSecret (not .Values.hdfs.enabled) }}
- name: OFFLOAD_STORAGE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.hdfs.existingSecret }}, key: password}}
{{- end }}
{{- if and .Values.nacos.existingSecret (not .Values.nacos.enabled) }}
- name: OFFLOAD_NACOS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.nacos.existingSecret }}, key: password}}
{{- end }}
{{- if .Values.token.enabled }}
- name: OFFLOAD_TOKEN
  valueFrom: {secretKeyRef: {name: {{ default (printf "%s-token" (include "offload.fullname" .)) .Values.token.existingSecret }}, key: token}}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: OFFLOAD_TLS_CERTIFICATE, value: /etc/offload-tls/tls.crt}
- {name: OFFLOAD_TLS_KEY, value: /etc/offload-tls/tls.key}
- {name: OFFLOAD_TLS_AUTHORITY, value: /etc/offload-tls/ca.crt}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* By what the run's lease knows the controller: the same pod's restarted container has it at once, another pod when it expires. */}}
{{- define "offload.holder" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: OFFLOAD_HOLDER, value: pod $(POD_NAMESPACE)/$(POD_NAME)}
{{- end }}

{{/* Pod Security Standard `restricted`, and more. */}}
{{- define "offload.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "offload.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What every pod of ours has in its metadata; (dict "root" $ "component" …) */}}
{{- define "offload.podMetadata" -}}
labels:
  {{- include "offload.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- with .root.Values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every pod of ours has in its spec, beside its containers; (dict "root" $ "component" … "volumes" <YAML of more of them>,
"account" and "settings": the service account and the ConfigMap where they are not the component's own) */}}
{{- define "offload.podSpec" -}}
serviceAccountName: {{ default (printf "%s-%s" (include "offload.fullname" .root) .component) .account }}
automountServiceAccountToken: {{ eq .component "controller" }}
enableServiceLinks: false
securityContext: {{- include "offload.podSecurityContext" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  # The whole folder is mounted: a single file of it would not follow the ConfigMap's changes.
  - {name: settings, configMap: {name: {{ default (printf "%s-settings" (include "offload.fullname" .root)) .settings }}}}
  - {name: tmp, emptyDir: {}}
  {{- with .root.Values.tls.existingSecret }}
  - {name: tls, secret: {secretName: {{ . }}, defaultMode: 0440}}
  {{- end }}
  {{- with .volumes }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What every container of ours has, beside its name, image, command, ports and probes; (dict "root" $ "environment" … "mounts" …) */}}
{{- define "offload.container" -}}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
env:
  {{- include "offload.environment" .root | nindent 2 }}
  {{- with .environment }}
  {{- . | nindent 2 }}
  {{- end }}
securityContext: {{- include "offload.securityContext" .root | nindent 2 }}
volumeMounts:
  - {name: settings, mountPath: /etc/offload, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if .root.Values.tls.existingSecret }}
  - {name: tls, mountPath: /etc/offload-tls, readOnly: true}
  {{- end }}
  {{- with .mounts }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Waits for the tables and the run, which the prepare Job makes. */}}
{{- define "offload.await" -}}
- name: await
  image: {{ include "offload.image" . }}
  command: [offload, await, --run, {{ include "offload.run" . | quote }}, --timeout, "600"]
  {{- include "offload.container" (dict "root" .) | nindent 2 }}
  resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {memory: 256Mi}}
{{- end }}

{{- define "offload.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (not (empty .Values.tls.existingSecret)) }}
startupProbe: {httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}, periodSeconds: 1, failureThreshold: 180}
livenessProbe: {httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 3}
readinessProbe: {httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}, periodSeconds: 2, timeoutSeconds: 3}
{{- end }}

{{/* A bundled service's volume: a claim of the StatefulSet's, or an empty folder; (dict "name" … "persistence" …) */}}
{{- define "offload.claims" -}}
{{- if .persistence.enabled }}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ ternary "Retain" "Delete" .persistence.keep }}
  whenScaled: {{ ternary "Retain" "Delete" .persistence.keep }}
volumeClaimTemplates:
  - metadata: {name: {{ .name }}}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClassName }}
      storageClassName: {{ . }}
      {{- end }}
      resources: {requests: {storage: {{ .persistence.size }}}}
{{- end }}
{{- end }}

{{/* Host paths and some network volumes belong to root whatever `fsGroup` says: a container that is root for a moment gives the volume to
the pod's user; (dict "root" $ "image" … "user" … "name" … "path" …) */}}
{{- define "offload.ownVolume" -}}
- name: own-volume
  image: {{ .image }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [chown, -R, "{{ .user }}:{{ .user }}", {{ .path }}]
  securityContext:
    runAsUser: 0
    runAsNonRoot: false
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL], add: [CHOWN, DAC_OVERRIDE]}
  resources: {requests: {cpu: 20m, memory: 16Mi}, limits: {memory: 64Mi}}
  volumeMounts: [{name: {{ .name }}, mountPath: {{ .path }}}]
{{- end }}

{{/* Peers of a network policy outside the cluster: those of a CIDR, or of every IPv4 and IPv6 address where it is empty. */}}
{{- define "offload.blocks" -}}
{{- range empty . | ternary (list "0.0.0.0/0" "::/0") (list .) }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}
