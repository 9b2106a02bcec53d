{{- /* The operator's rights: the verbs of the table in operator/deepseek_operator/control/kinds.py; no wildcards. */ -}}

{{- define "deepseek-operator.namespacedRules" -}}
- apiGroups: [serving.deepseek-operator.io]
  resources: [deepseekdeployments]
  verbs: [get, list, watch]
- apiGroups: [serving.deepseek-operator.io]
  resources: [deepseekdeployments/status, deepseekdeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets, controllerrevisions]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Created are pods that bring a changed image to a node; ranks are made by their StatefulSets or Jobs.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
# The last lines of an engine that failed.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Generated API keys are posted once and never read back.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# The one that spec.modelConfig names; none is listed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, create, delete]
# Of the gang scheduler that spec.scheduling.gang names, where one is installed.
- apiGroups: [scheduling.x-k8s.io, scheduling.run.ai, scheduling.k8s.io]
  resources: [podgroups]
  verbs: [get, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, create]
- apiGroups: [resource.k8s.io]
  resources: [resourceclaims]
  verbs: [list]
{{- end -}}

{{- define "deepseek-operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [persistentvolumes]
{{- if dig "weights" "nodePath" "" .Values.config }}
  # Who may make PersistentVolumes may reach any directory of a node: only where weights are kept on nodes.
  verbs: [get, create, patch]
{{- else }}
  # Whether the node of a rank's claim is gone.
  verbs: [get]
{{- end }}
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [list]
# Devices of nodes whose vendor runs its DRA driver in place of the device plugin.
- apiGroups: [resource.k8s.io]
  resources: [resourceslices, deviceclasses]
  verbs: [list]
{{- end -}}
