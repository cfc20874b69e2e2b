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

FIELD_MANAGER: Final = "btp-manager"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "btp-manager"
MANAGED_SELECTOR: Final = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
APPLIED_HASH_ANNOTATION: Final = "operator.kyma-project.io/applied-hash"
"""Digest of what was last applied, without Secret values: tells whether the object would be rendered differently."""
CREDENTIALS_NAMESPACES_ANNOTATION: Final = "operator.kyma-project.io/credentials-namespaces"
"""On the operand's ConfigMap: in which namespaces its credentials were put, until they are seen gone."""

OPERAND: Final = "sap-btp-operator"
OPERAND_DEPLOYMENT: Final = "sap-btp-operator-controller-manager"
OPERAND_WEBHOOK_SERVICE: Final = "sap-btp-operator-webhook-service"
OPERAND_CONFIG: Final = "sap-btp-operator-config"
OPERAND_CREDENTIALS_SECRET: Final = "sap-btp-service-operator"
OPERAND_CLUSTER_ID_SECRET: Final = "sap-btp-operator-clusterid"
OPERAND_POD_SELECTOR: Final = "app.kubernetes.io/instance=sap-btp-operator,control-plane=controller-manager"
WEBHOOK_CHECK: Final = "btp-manager-webhook-check"
"""A ServiceInstance in kyma-system that is never made: a dry run of it goes through the operand's webhooks."""
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

STILL_WAITING: Final = "StillWaiting"
"""Failure type of an attempt that ended with something left: progress, not an error."""
MANDATE_LOST: Final = "MandateLost"
"""Failure type of an activity whose CR no longer asks for it: an outcome, not an error."""
OTHER_CLUSTER: Final = "OtherCluster"
"""Failure type of an activity whose input is for another cluster."""
DEFECT: Final = "Defect"
"""Failure type of an activity that failed in a way nobody foresaw."""
