"""The lab of real nodes: six machines that Vagrant makes and playbooks fill; see its README."""
