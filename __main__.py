from infra import program

program.deploy()
