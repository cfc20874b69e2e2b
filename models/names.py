"""Names that clusters, scripts and alerts rely on. They are a public contract; change none of them lightly."""

from typing import Final

API_GROUP: Final = "operator.kyma-project.io"
API_VERSION: Final = "v1alpha1"
KIND: Final = "BtpOperator"
FINALIZER: Final = "operator.kyma-project.io/btp-manager"
"""Ours, and only on the CR that is responsible for the operand."""

KYMA_NAMESPACE: Final = "kyma-system"
CREDENTIALS_SECRET: Final = "sap-btp-manager"
ABANDONED_CONFIGMAP: Final = "sap-btp-abandoned"
REPORT_LABEL: Final = "operator.kyma-project.io/report"
ABANDONED_REPORT: Final = "abandoned"
"""Value of that label on every ConfigMap of the report of abandoned objects."""
ABANDONED_COUNT_ANNOTATION: Final = "operator.kyma-project.io/abandoned-objects"
"""How many objects one ConfigMap of the report names: whoever counts them need not read the names."""

FIELD_MANAGER: Final = "btp-manager"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "btp-manager"
MANAGED_SELECTOR: Final = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
APPLIED_HASH_ANNOTATION: Final = "operator.kyma-project.io/applied-hash"
"""Digest of what was last applied, without Secret values: tells whether the object would be rendered differently."""

OPERAND: Final = "sap-btp-operator"
OPERAND_DEPLOYMENT: Final = "sap-btp-operator-controller-manager"
OPERAND_WEBHOOK_SERVICE: Final = "sap-btp-operator-webhook-service"
OPERAND_CONFIG: Final = "sap-btp-operator-config"
OPERAND_CREDENTIALS_SECRET: Final = "sap-btp-service-operator"
OPERAND_CLUSTER_ID_SECRET: Final = "sap-btp-operator-clusterid"
OPERAND_POD_SELECTOR: Final = "app.kubernetes.io/instance=sap-btp-operator,control-plane=controller-manager"
OPERAND_FINALIZER: Final = "services.cloud.sap.com/sap-btp-finalizer"
"""On ServiceInstances, ServiceBindings and watched parameter Secrets. Soft delete removes this one and no other."""
PREVENT_DELETION_ANNOTATION: Final = "services.cloud.sap.com/preventDeletion"

DISABLE_NETWORK_POLICIES_ANNOTATION: Final = "operator.kyma-project.io/btp-operator-disable-network-policies"
"""On a BtpOperator, with the value `true` in any letter case: no NetworkPolicies for the operand."""

CA_SECRET: Final = "ca-server-cert"
WEBHOOK_CERT_SECRET: Final = "webhook-server-cert"
MANAGED_SECRETS: Final = (OPERAND_CREDENTIALS_SECRET, CA_SECRET, WEBHOOK_CERT_SECRET)
"""Every Secret that carries our label. They are read and watched one by one: a list would show everybody's."""

PROVISION_WORKFLOW: Final = "ProvisionWorkflow"
DEPROVISION_WORKFLOW: Final = "DeprovisionWorkflow"
RESYNC_WORKFLOW: Final = "ResyncWorkflow"
RESYNC_SCHEDULE: Final = "btp-manager-resync"
LOOK_AGAIN: Final = "look_again"
DELETION_REQUESTED: Final = "deletion_requested"
