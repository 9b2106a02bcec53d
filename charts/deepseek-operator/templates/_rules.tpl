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
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# Generated API keys and claims of weights are posted once and never read back.
- apiGroups: [""]
  resources: [secrets, persistentvolumeclaims]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "deepseek-operator.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [persistentvolumes]
  verbs: [create]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [list]
# Devices of nodes whose vendor runs its DRA driver in place of the device plugin.
- apiGroups: [resource.k8s.io]
  resources: [resourceslices, deviceclasses]
  verbs: [list]
{{- end -}}
