{{/* The prefix of all names, 40 characters at most. With a suffix, a name must fit into Kubernetes' 63 characters. */}}
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

{{/* The run's name: a digest of the settings, without the live settings. Other settings give another run. After a
rollback the earlier run continues. */}}
{{- define "offload.run" -}}
{{- $fixed := omit .Values.settings "scheduler" "log_level" -}}
{{- default (printf "%s-%s" (include "offload.fullname" .) (toJson $fixed | sha256sum | trunc 8)) .Values.run.name -}}
{{- end }}

{{- define "offload.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{/* The URL of the database: the chart's MySQL, or an external server. */}}
{{- define "offload.databaseUrl" -}}
{{- $host := ternary (printf "%s-mysql" (include "offload.fullname" .)) .Values.mysql.host .Values.mysql.enabled -}}
{{- $port := ternary 3306 (int .Values.mysql.port) .Values.mysql.enabled -}}
{{- $options := ternary (printf "?%s" .Values.mysql.options) "" (not (empty .Values.mysql.options)) -}}
mysql+pymysql://{{ .Values.mysql.user }}@{{ $host }}:{{ $port }}/{{ .Values.mysql.database }}{{ $options }}
{{- end }}

{{- define "offload.databaseSecret" -}}
{{- default (printf "%s-mysql" (include "offload.fullname" .)) .Values.mysql.existingSecret -}}
{{- end }}

{{/* The URL of the storage: the chart's HDFS, an external one, or else the database. */}}
{{- define "offload.storageUrl" -}}
{{- if .Values.hdfs.enabled -}} hdfs+http://offload@{{ include "offload.fullname" . }}-namenode:9870/offload
{{- else -}} {{ default "database:" .Values.hdfs.url }}
{{- end -}}
{{- end }}

{{/* The URL of Nacos: the chart's, an external one, or empty. */}}
{{- define "offload.nacosUrl" -}}
{{- if .Values.nacos.enabled -}} nacos://{{ include "offload.fullname" . }}-nacos:8848
{{- else -}} {{ .Values.nacos.url }}
{{- end -}}
{{- end }}

{{/* The settings file of the ConfigMaps. It is JSON, which is also YAML, because toYaml would change numbers
(1000000 to 1e+06). */}}
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

{{/* The environment of every pod of the program. */}}
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
  {{- $token := default (printf "%s-token" (include "offload.fullname" .)) .Values.token.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ $token }}, key: token}}
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

{{/* The controller's name as the holder of the run's lease. A restarted container of the same pod gets the lease at
once; another pod gets it after it expires. */}}
{{- define "offload.holder" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: OFFLOAD_HOLDER, value: pod $(POD_NAMESPACE)/$(POD_NAME)}
{{- end }}

{{/* The security context of containers. It satisfies the Pod Security Standard `restricted`. */}}
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

{{/* The metadata of every pod of the program; (dict "root" $ "component" …) */}}
{{- define "offload.podMetadata" -}}
labels:
  {{- include "offload.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- with .root.Values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The spec of every pod of the program, without its containers; (dict "root" $ "component" … "volumes" <YAML of
additional volumes> "account" <service account, the component's by default> "settings" <ConfigMap, the release's by
default>) */}}
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
  {{- $settings := default (printf "%s-settings" (include "offload.fullname" .root)) .settings }}
  - {name: settings, configMap: {name: {{ $settings }}}}
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

{{/* A container of the program, without name, image, command, ports, probes and resources;
(dict "root" $ "environment" … "mounts" …) */}}
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

{{/* An init container that waits until the prepare Job has created the tables and the run. */}}
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
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: {{ $scheme }}}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe: {httpGet: {path: /readyz, port: http, scheme: {{ $scheme }}}, periodSeconds: 2, timeoutSeconds: 3}
{{- end }}

{{/* The volume claim of a StatefulSet, if its persistence is enabled; (dict "name" … "persistence" …) */}}
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

{{/* An init container that runs as root and gives a volume to the pod's user. Host paths and some network volumes
belong to root in spite of `fsGroup`; (dict "root" $ "image" … "user" … "name" … "path" …) */}}
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

{{/* Peers of a network policy outside the cluster: the addresses of a CIDR, or all IPv4 and IPv6 addresses if it is
empty. */}}
{{- define "offload.blocks" -}}
{{- range empty . | ternary (list "0.0.0.0/0" "::/0") (list .) }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}
