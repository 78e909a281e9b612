import mujoco
import pytest

from rlmaml_envs.control_units import control_names, control_units

ROBOT = """<mujoco><worldbody><site name="there"/><body name="arm"><joint name="a" axis="0 1 0"/><geom size=".1"/>
<body pos=".2 0 0"><joint name="s" type="slide"/><geom size=".1"/><site name="here"/>
<body pos=".2 0 0"><joint name="b" type="ball"/><geom size=".1"/></body></body></body></worldbody>
<tendon><fixed name="mixed"><joint joint="a" coef="1"/></fixed>
<spatial name="rope"><site site="here"/><site site="there"/></spatial></tendon>
<actuator>{}</actuator></mujoco>"""


@pytest.mark.parametrize(
    ("actuator", "unit"),
    [
        ('<motor joint="a"/>', "N m"),
        ('<motor joint="a" gear="120"/>', "120 N m"),
        ('<motor joint="s"/>', "N"),
        ('<motor joint="b" gear="0 0 1"/>', ""),
        ('<motor tendon="rope"/>', "N"),
        ('<motor tendon="mixed"/>', ""),
        ('<motor site="here" gear="0 0 1 0 0 0"/>', ""),
        ('<position joint="a" kp="20" kv="1"/>', "rad"),
        ('<position joint="s" kp="20" timeconst="0.1"/>', "m"),
        ('<position joint="a" kp="20" gear="4"/>', "0.25 rad"),
        ('<velocity joint="a" kv="3"/>', "rad/s"),
        ('<velocity joint="s" kv="3"/>', "m/s"),
        ('<intvelocity joint="a" kp="5" actrange="-1 1"/>', "rad/s"),
        ('<general joint="a" dyntype="filterexact" dynprm="0.1" gainprm="2"/>', "2 N m"),
        ('<general joint="a" biastype="affine" gainprm="2" biasprm="0 -20 0"/>', ""),
        ('<muscle joint="a" lengthrange="0 1"/>', ""),
        ('<adhesion body="arm" gain="1" ctrlrange="0 1"/>', ""),
        ('<damper joint="a" kv="2" ctrlrange="0 1"/>', ""),
    ],
)
def test_a_control_has_the_unit_that_its_actuator_gives_it(actuator: str, unit: str) -> None:
    assert control_units(mujoco.MjModel.from_xml_string(ROBOT.format(actuator))) == (unit,)


def test_controls_have_their_actuators_names_or_their_numbers() -> None:
    model = mujoco.MjModel.from_xml_string(ROBOT.format('<motor joint="a"/><motor name="second" joint="s"/>'))
    assert control_names(model) == ("0", "second")
