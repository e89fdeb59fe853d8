"""Configuration of Prometheus, Alertmanager and Grafana: by their checkers, and nothing left out."""

from __future__ import annotations

import shutil

import yaml

from tests.deployment import DEPLOY, of_kind, run


def generated(folder, name):
    described = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text())
    (files,) = [each["files"] for each in described["configMapGenerator"] if each["name"] == name]
    return {path.partition("=")[2] or path for path in files}


def test_yaml_is_tidy():
    run("yamllint", "--strict", "--config-file", DEPLOY / ".yamllint", DEPLOY)


def test_promtool_takes_the_configuration_with_its_rules(tmp_path):
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    (folder / "ca.pem").touch()

    said = run("promtool", "check", "config", folder / "prometheus.yml")

    assert f"SUCCESS: {len(list((DEPLOY / 'prometheus/rules').glob('*.yml')))} rule files found" in said


def test_amtool_takes_the_configuration():
    run("amtool", "check-config", DEPLOY / "alertmanager/alertmanager.yml")


def test_every_severity_of_an_alert_has_a_receiver_and_what_silences_others_is_an_alert():
    configuration = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text())
    groups = yaml.safe_load((DEPLOY / "prometheus/rules/alerts.yml").read_text())["groups"]
    alerts = {rule["alert"]: rule["labels"]["severity"] for group in groups for rule in group["rules"]}
    receivers = {each["name"] for each in configuration["receivers"]}
    routed = {configuration["route"]["receiver"], *(each["receiver"] for each in configuration["route"]["routes"])}
    silencing = [matcher for rule in configuration["inhibit_rules"] for matcher in rule["source_matchers"]]

    assert set(alerts.values()) == routed == receivers
    assert {matcher.partition("=")[2].strip('"') for matcher in silencing} <= set(alerts)


def test_kubernetes_is_given_every_rule_and_every_board():
    rules = {f"rules/{path.name}" for path in (DEPLOY / "prometheus/rules").glob("*.yml")}
    boards = {f"dashboards/{path.name}" for path in (DEPLOY / "grafana/dashboards").glob("*.json")}

    assert generated("prometheus", "prometheus-rules") == rules
    assert generated("grafana", "grafana-dashboards") == boards


def test_boards_find_the_data_source_that_is_provisioned():
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/fleet.yaml").read_text())["providers"]
    grafana = next(
        container
        for container in of_kind("dev", "StatefulSet")["fleet-monitoring"]["spec"]["template"]["spec"]["containers"]
        if container["name"] == "grafana"
    )

    assert source["uid"] == "prometheus"
    assert provider["options"]["path"] in {mount["mountPath"] for mount in grafana["volumeMounts"]}
