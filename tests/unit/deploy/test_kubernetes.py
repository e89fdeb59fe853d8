"""Kustomize overlays: by their checkers, the profile `restricted`, and who may speak with whom."""

from __future__ import annotations

import json

import pytest

from tests.deployment import OVERLAYS, objects, of_kind, run

#: Ports that listen in the pods, by the pod.
LISTENING = {
    "fleet-coordinator": (9800, 9801, 9810),
    "fleet-superlink": (9802,),
    "fleet-monitoring": (3000,),
    "fleet-node": (9811,),
    "postgres": (5432,),
}
#: Made by hand, as docs/operations/deploy-kubernetes.md says.
BY_HAND = {
    "fleet-coordinator", "fleet-superlink", "fleet-learning", "fleet-database", "fleet-database-ca", "fleet-ca",
    "postgres", "grafana", "alertmanager", "fleet-enrollments",
}  # fmt: skip


def pods(overlay):
    return {name: each["spec"]["template"] for name, each in of_kind(overlay, "StatefulSet").items()}


def containers(pod):
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_keeps_to_the_schemas_of_kubernetes(overlay, tmp_path):
    path = tmp_path / "all.json"
    path.write_text("\n---\n".join(json.dumps(each) for each in objects(overlay)))

    run("kubernetes-validate", "--strict", path)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_fits_the_restricted_profile_and_is_bounded(overlay):
    assert of_kind(overlay, "Namespace")["reram-fleet"]["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    for name, pod in pods(overlay).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir", "projected", "persistentVolumeClaim"}, name
        for container in containers(pod):
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False, container["name"]
            assert rights["readOnlyRootFilesystem"] is True, container["name"]
            assert rights["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert {"cpu", "memory"} <= set(container["resources"]["limits"]), container["name"]
            assert ":" in container["image"], container["image"]
        assert all("livenessProbe" in container for container in spec["containers"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_take_from_the_cluster_is_generated_or_made_by_hand(overlay):
    generated = {*of_kind(overlay, "ConfigMap"), *of_kind(overlay, "Secret")}
    named = set()

    def collect(value):
        if isinstance(value, dict):
            for key, each in value.items():
                if key in ("configMap", "secret", "configMapRef", "secretKeyRef"):
                    named.add(each.get("name") or each["secretName"])
                collect(each)
        elif isinstance(value, list):
            for each in value:
                collect(each)

    collect(pods(overlay))
    assert named - generated <= BY_HAND
    # The names of generated ones end in a digest: what nobody names is dead.
    assert generated <= named


def matches(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def allowed(overlay, direction, pod, other, port):
    """Return whether the policies of a pod let it speak with another pod (None: the world) in a direction."""
    labels = pods(overlay)[pod]["metadata"]["labels"]
    peer, key = ("from", "ingress") if direction == "Ingress" else ("to", "egress")
    chosen = [
        policy["spec"]
        for policy in of_kind(overlay, "NetworkPolicy").values()
        if matches(policy["spec"]["podSelector"], labels) and direction in policy["spec"]["policyTypes"]
    ]
    assert chosen, "without a policy everything is allowed"
    for policy in chosen:
        for rule in policy.get(key, ()):
            if port not in [each["port"] for each in rule.get("ports", ())]:
                continue
            if peer not in rule:
                return True
            for each in rule[peer]:
                inside = "podSelector" in each and "namespaceSelector" not in each
                if inside and other and matches(each["podSelector"], pods(overlay)[other]["metadata"]["labels"]):
                    return True
    return False


FLOWS = {
    "dev": {
        ("fleet-node", "fleet-coordinator", 9800),
        ("fleet-node", "fleet-coordinator", 9801),
        ("fleet-superlink", "fleet-coordinator", 9800),
        ("fleet-coordinator", "fleet-superlink", 9802),
        ("fleet-coordinator", "postgres", 5432),
        ("fleet-monitoring", "fleet-coordinator", 9810),
    },
    "prod": {
        ("fleet-superlink", "fleet-coordinator", 9800),
        ("fleet-coordinator", "fleet-superlink", 9802),
        ("fleet-monitoring", "fleet-coordinator", 9810),
    },
}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_speak_with_each_other_as_listed_and_in_no_other_way(overlay):
    possible = {
        (a, b, port)
        for a in pods(overlay)
        for b in pods(overlay)
        for port in LISTENING[b]
        if a != b and allowed(overlay, "Egress", a, b, port) and allowed(overlay, "Ingress", b, a, port)
    }

    assert possible == FLOWS[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_from_outside_only_the_two_ports_of_nodes_and_operators_are_reached(overlay):
    reached = {
        (pod, port) for pod in pods(overlay) for port in LISTENING[pod] if allowed(overlay, "Ingress", pod, None, port)
    }

    assert reached == {("fleet-coordinator", 9800), ("fleet-coordinator", 9801)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_may_ask_for_names(overlay):
    names = of_kind(overlay, "NetworkPolicy")["names"]["spec"]

    assert names["podSelector"] == {}
    # Labels that kustomize added here would be looked for at the cluster's DNS, in vain.
    assert names["egress"][0]["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_select_the_pods_that_listen_there(overlay):
    for name, service in of_kind(overlay, "Service").items():
        selected = [
            pod
            for pod in pods(overlay).values()
            if matches({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
        ]
        assert len(selected) == 1, name
        listening = {port["containerPort"] for each in containers(selected[0]) for port in each.get("ports", ())}
        assert {port["port"] for port in service["spec"].get("ports", ())} <= listening, name
