defmodule Mix.Tasks.Unibeam.Image do
  @shortdoc "Makes a machine image of this project"
  @moduledoc """
  `mix unibeam.image [NAME] [OPTIONS]`: the project becomes a release and its machine image, by the `unibeam` program,
  which gets the options as they are (`unibeam build --help` lists them). What it says is shown as it comes, and its
  exit status becomes mix's.

  In the project's `mix.exs`, all optional:

      unibeam: [name: "shop", args: ["--port", "8080"], program: "/path/to/unibeam"]
  """
  use Mix.Task

  @impl true
  def run(arguments) do
    own = Keyword.get(Mix.Project.config(), :unibeam, [])
    {name, options} = name(arguments, own)
    project = Path.dirname(Mix.Project.project_file())
    words = ["build", name, "--from", project] ++ Keyword.get(own, :args, []) ++ options

    case System.cmd(program(own), words, into: IO.stream(), stderr_to_stdout: true, env: [{"MIX_ENV", nil}]) do
      {_, 0} -> :ok
      # unibeam has said why, and its status says which kind of failure it was.
      {_, status} -> exit({:shutdown, status})
    end
  end

  defp name(["-" <> _ | _] = options, own), do: {default(own), options}
  defp name([name | options], _), do: {name, options}
  defp name([], own), do: {default(own), []}

  defp default(own), do: Keyword.get(own, :name) || to_string(Mix.Project.config()[:app])

  defp program(own) do
    System.find_executable(Keyword.get(own, :program, "unibeam")) ||
      Mix.raise(
        "unibeam is not on the PATH. Install it (pip install unibeam-nb), or name it in mix.exs: " <>
          "unibeam: [program: \"/path/to/unibeam\"]"
      )
  end
end
