"""What is taken out of any template before an emulator gets it."""

from typing import Any

from local.gateway.leftovers import LEFT_OUT, is_output_of_leftovers, take_out

API = {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": "chat"}}


def resource(kind: str, **properties: Any) -> dict[str, Any]:
    return {
        "Type": f"AWS::ApiGatewayV2::{kind}",
        "Properties": {"ApiId": {"Ref": "Api"}, **properties},
    }


def taken(**resources: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    return take_out({"Resources": {"Api": API, **resources}})


def test_template_that_the_emulator_takes_stays_as_it_is() -> None:
    template = {
        "Resources": {"Api": API, "Route": resource("Route", RouteKey="$default")},
        "Outputs": {"Id": {"Value": {"Ref": "Api"}}},
    }

    assert take_out(template) == (template, [])


def test_deployment_is_left_out_with_whatever_refers_to_it() -> None:
    stage = resource("Stage", StageName="live", DeploymentId={"Ref": "Deployment"})
    adapted, leftovers = taken(
        Deployment=resource("Deployment") | {"DependsOn": "Route"},
        Stage=stage | {"DependsOn": ["Deployment", "Route"]},
        Other=resource("Stage", StageName="other") | {"DependsOn": "Deployment"},
    )

    assert leftovers == []
    assert adapted["Resources"]["Stage"] == resource("Stage", StageName="live") | {
        "DependsOn": ["Route"]
    }
    assert adapted["Resources"]["Other"] == resource("Stage", StageName="other")


def test_output_of_what_is_left_out_is_left_out() -> None:
    template = {
        "Resources": {"Api": API, "Deployment": resource("Deployment")},
        "Outputs": {
            "One": {"Value": {"Ref": "Deployment"}},
            "Other": {"Value": {"Fn::GetAtt": ["Deployment", "DeploymentId"]}},
            "Kept": {"Value": {"Ref": "Api"}},
        },
    }

    assert take_out(template)[0]["Outputs"] == {"Kept": {"Value": {"Ref": "Api"}}}


def test_references_of_what_is_left_out_are_resolved_by_outputs_under_its_condition() -> None:
    response = resource("RouteResponse", RouteId={"Ref": "Route"}, RouteResponseKey="$default")
    adapted, (leftover,) = taken(Response=response | {"Condition": "Answers"})

    assert "Response" not in adapted["Resources"]
    assert leftover.properties["RouteResponseKey"] == "$default"
    assert [
        adapted["Outputs"][leftover.properties[name].name] for name in ("ApiId", "RouteId")
    ] == [
        {"Value": {"Ref": "Api"}, "Condition": "Answers"},
        {"Value": {"Ref": "Route"}, "Condition": "Answers"},
    ]
    assert all(is_output_of_leftovers(name) for name in adapted["Outputs"])


def test_model_is_named_where_its_id_stood() -> None:
    model = resource("Model", Name="Note", Schema={"type": "object"})
    route = resource("Route", RequestModels={"$default": {"Ref": "Model"}})
    adapted, (leftover,) = taken(Model=model, Route=route)

    assert adapted["Resources"]["Route"]["Properties"]["RequestModels"] == {"$default": "Note"}
    assert leftover.properties["Schema"] == {"type": "object"}


def test_members_that_are_lost_are_noted_and_stay() -> None:
    settings = {"ThrottlingRateLimit": 5}
    stage = resource("Stage", StageName="live", DefaultRouteSettings=settings)
    adapted, (leftover,) = taken(Stage=stage)

    assert adapted["Resources"]["Stage"] == stage
    assert leftover.properties["DefaultRouteSettings"] == settings
    assert "StageName" not in leftover.properties


def test_further_types_are_left_out_by_naming_them() -> None:
    archive = {"Type": "AWS::Events::Archive", "Properties": {}}
    template = {"Resources": {"Api": API, "Archive": archive}}

    assert take_out(template, (*LEFT_OUT, "AWS::Events::Archive"))[0] == {"Resources": {"Api": API}}


def test_own_outputs_are_told_from_others() -> None:
    assert is_output_of_leftovers("LeftOut12")
    assert not is_output_of_leftovers("LeftOutput")
    assert not is_output_of_leftovers("12")


def test_model_that_another_refers_to_is_known_by_its_name() -> None:
    prefix = "https://apigateway.amazonaws.com/restapis/${Api}/models"
    adapted, _ = taken(
        Inner=resource("Model", Name="InnerName", Schema={"type": "string"}),
        Outer=resource("Model", Name="Outer", Schema={"$ref": {"Fn::Sub": f"{prefix}/${{Inner}}"}}),
    )

    assert {"Value": {"Fn::Sub": f"{prefix}/InnerName"}} in adapted["Outputs"].values()
